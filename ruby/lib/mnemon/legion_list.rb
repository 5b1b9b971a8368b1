# frozen_string_literal: true

require "json"

module Mnemon
  class LegionStore
    # What `all_traces` returns: the living traces, in order of creation, made when they are looked at, since a hundred
    # thousand Hashes at once make the collector stop all threads. It has the methods of an Array, and Ruby takes it
    # where it takes an Array. What each, map, select and first do not keep is let go; other methods make all.
    class TracesList
      include Enumerable

      def initialize(living, found)
        @living = living
        @found = found
      end

      def size = @all ? @all.size : @found.size
      def count(*item, &block) = item.empty? && !block ? size : super
      def empty? = size.zero?
      def to_ary = @all ||= @living.of(@found)
      def to_a = to_ary.dup
      def to_json(...) = to_ary.to_json(...)
      def marshal_dump = to_ary
      def marshal_load(all) = @all = all

      def each(&)
        return to_enum(:each) { size } unless block_given?

        @all ? @all.each(&) : @living.each_of(@found, &)
        self
      end

      alias length size
      alias entries to_a

      (Array.public_instance_methods(false) - Enumerable.public_instance_methods - public_instance_methods(false))
        .each do |name|
          define_method(name) do |*args, &block|
            result = to_ary.public_send(name, *args, &block)
            result.equal?(@all) ? self : result
          end
        end
    end
  end
end
