# frozen_string_literal: true

module Mnemon
  class LegionStore
    # What `traces` returns: it answers as a Hash of the living traces by id does, and what it is told to change
    # changes the store.
    class TracesView
      include Enumerable

      MUTATORS = %i[clear compact! delete_if filter! keep_if merge! reject! replace select! shift update].freeze
      private_constant :MUTATORS

      def initialize(store) = @store = store
      def [](id) = @store.get(id)
      def []=(_id, trace)
        @store.store(trace)
      end
      def key?(id) = !@store.get(id).nil?
      def size = @store.count
      def count(*item, &block) = item.empty? && !block ? size : super
      def empty? = size.zero?
      def values = @store.all_traces.to_a

      def each
        return to_enum(:each) { size } unless block_given?

        @store.all_traces.each { |trace| yield [trace[:trace_id], trace] }
        self
      end

      def to_h(&) = values.to_h { |trace| [trace[:trace_id], trace] }.then { |hash| block_given? ? hash.to_h(&) : hash }
      def fetch(id, *default, &) = to_one(id).fetch(id, *default, &)
      def dig(id, *rest) = to_one(id).dig(id, *rest)
      def values_at(*ids) = ids.map { |id| self[id] }
      def delete(id) = self[id].tap { @store.delete(id) }
      def ==(other) = to_h == other.to_h

      alias store []=
      alias each_pair each
      alias length size
      alias has_key? key?
      alias include? key?
      alias member? key?
      alias to_hash to_h
      alias dup to_h

      # Whatever else a Hash has is asked of one.
      (Hash.public_instance_methods(false) - public_instance_methods(false) - MUTATORS).each do |name|
        define_method(name) do |*args, &block|
          hash = to_h
          result = hash.public_send(name, *args, &block)
          result.equal?(hash) ? self : result
        end
      end

      MUTATORS.each do |name|
        define_method(name) do |*args, &block|
          before = to_h
          hash = before.dup
          result = hash.public_send(name, *args, &block)
          (before.keys - hash.keys).each { |id| @store.delete(id) }
          hash.each { |id, trace| @store.store(trace) unless trace.equal?(before[id]) }
          result.equal?(hash) ? self : result
        end
      end

      private

      def to_one(id) = (trace = self[id]) ? { id => trace } : {}
    end

    # What `associations` returns: the number of co-activations by id and id, which cannot be changed through it.
    class LinksView
      include Enumerable

      def initialize(store) = @store = store
      def [](id) = Hash.new(0).merge!(@store.native.legion_links(id.to_s), @store.waiting[id.to_s] || {}).freeze
      def to_h = ids.to_h { |id| [id, self[id]] }.reject { |_, links| links.empty? }
      def key?(id) = !self[id].empty?
      def dig(id, *rest) = rest.empty? ? self[id] : self[id].dig(*rest)
      def values_at(*ids) = ids.map { |id| self[id] }

      alias has_key? key?
      alias include? key?
      alias member? key?
      alias to_hash to_h
      alias dup to_h

      # Whatever else a Hash has is asked of one.
      (Hash.public_instance_methods(false) - public_instance_methods(false)).each do |name|
        define_method(name) { |*args, &block| to_h.freeze.public_send(name, *args, &block) }
      end

      private

      def ids = @store.native.map(&:legion_id) | @store.waiting.keys
    end
  end
end
