# frozen_string_literal: true

module Mnemon
  class LegionStore
    # What `traces` returns: the living traces by id, made when they are asked for.
    class TracesView
      include Enumerable

      def initialize(store) = @store = store
      def [](id) = @store.get(id)
      def []=(_id, trace)
        @store.store(trace)
      end
      def key?(id) = !@store.get(id).nil?
      def size = @store.count
      def empty? = size.zero?
      def values = @store.all_traces
      def keys = values.map { |trace| trace[:trace_id] }
      def to_h = values.to_h { |trace| [trace[:trace_id], trace] }
      def each = values.each { |trace| yield [trace[:trace_id], trace] }
      def each_value(&) = values.each(&)
      def each_key(&) = keys.each(&)
      def fetch(id, *default, &) = to_one(id).fetch(id, *default, &)
      def dig(id, *rest) = to_one(id).dig(id, *rest)
      def values_at(*ids) = ids.map { |id| self[id] }
      def delete(id) = self[id].tap { @store.delete(id) }
      def dup = to_h
      def ==(other) = to_h == other.to_h

      alias each_pair each
      alias length size
      alias has_key? key?
      alias include? key?
      alias member? key?

      private

      def to_one(id) = (trace = self[id]) ? { id => trace } : {}
    end

    # What `associations` returns: the number of co-activations by id and id.
    class LinksView
      include Enumerable

      def initialize(store) = @store = store
      def [](id) = Hash.new(0).merge!(@store.native.legion_links(id.to_s)).merge!(waiting(id.to_s))
      def to_h = ids.to_h { |id| [id, self[id]] }.reject { |_, links| links.empty? }
      def each(&) = to_h.each(&)
      def each_value(&) = to_h.each_value(&)
      def keys = to_h.keys
      def values = to_h.values
      def key?(id) = !self[id].empty?
      def size = to_h.size
      def empty? = to_h.empty?
      def dig(id, *rest) = rest.empty? ? self[id] : self[id].dig(*rest)
      def fetch(id, *default, &) = to_h.fetch(id, *default, &)
      def values_at(*ids) = ids.map { |id| self[id] }

      alias each_pair each
      alias length size
      alias has_key? key?
      alias include? key?

      private

      def ids = @store.native.map(&:legion_id) | @store.instance_variable_get(:@counts).keys
      def waiting(id) = @store.instance_variable_get(:@counts).fetch(id, {})
    end
  end
end
