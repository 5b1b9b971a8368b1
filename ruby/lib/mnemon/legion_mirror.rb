# frozen_string_literal: true

require "json"

module Mnemon
  class LegionStore
    # Keeps the gem's own tables, through Sequel, as the store is: for hosts without a file of ours. They are read once,
    # and then each flush writes the rows of what has changed since the last one. Holds what the tables have a column
    # for.
    class Mirror
      COLUMNS = %i[trace_id strength peak_strength base_decay_rate emotional_intensity created_at last_reinforced
                   last_decayed reinforcement_count confidence partition_id].freeze
      private_constant :COLUMNS

      class << self
        # Returns the gem's database, if it is connected and has the tables.
        def database
          local = defined?(::Legion::Data::Local) && ::Legion::Data::Local
          return unless local && local.connected?

          tables = %i[memory_traces memory_associations]
          local.connection if local.connection && tables.all? { |table| local.connection.table_exists?(table) }
        end

        # Returns the value of a text of the tables: that of an object or list in JSON, or the text itself.
        def parse(raw)
          return raw unless raw.is_a?(String) && raw.strip.match?(/\A(\{|\[\s*[{\["\]])/)

          ::JSON.parse(raw.strip, symbolize_names: true)
        rescue ::JSON::ParserError
          raw
        end
      end

      def initialize(database, living, partition)
        @traces = database[:memory_traces]
        @links = database[:memory_associations]
        @living = living
        @partition = partition
        @scoped = @links.columns.include?(:partition_id)
        @mutex = Mutex.new
        # What is to be written: traces by id, and counts by pairs of ids; nil for what was removed.
        @changed = {}
        @counted = {}
        # Ids in the tables that are no UUID, by the UUID that stands for them.
        @names = {}
        load
      end

      # Writes what has changed, and nothing if the database refuses.
      def write
        @mutex.synchronize do
          collect
          next if @changed.empty? && @counted.empty?

          @traces.db.transaction do
            @changed.each { |id, trace| write_trace(id, trace) && Thread.pass }
            @counted.each { |(one, other), count| write_link(name(one), name(other), count) && Thread.pass }
          end
          @changed.clear
          @counted.clear
        end
      end

      private

      def load
        native = @living.native
        scoped(@traces).each do |row|
          @living.mutex.synchronize { @living.put(from_row(row)) }
          @names[native.legion_find(row[:trace_id]).id] = row[:trace_id]
          Thread.pass
        end
        scoped(@links).each do |row|
          @living.mutex.synchronize { @living.link(*row.values_at(:trace_id_a, :trace_id_b, :coactivation_count)) }
        end
        native.flush
        @feed = native.legion_feed
      end

      def scoped(table) = table.columns.include?(:partition_id) ? table.where(partition_id: @partition) : table

      def collect
        while (commit = @feed.take)
          next everything if commit == :gap

          traces, links = commit
          links.each { |one, other, count| @counted[[one, other]] = count }
          # A trace's row lists those that it is associated with.
          links.flat_map { |one, other, _| [one, other] }.each { |id| @changed[id] = @living.native.get(id) }
          @changed.merge!(traces.to_h)
        end
      end

      # So much has changed since the last flush that what it was is not known.
      def everything
        scoped(@traces).select_map(:trace_id).each { |name| @changed[@names.key(name) || name] = nil }
        @living.native.each do |trace|
          @changed[trace.id] = trace
          @living.native.links(trace.id).each { |other, count| @counted[[trace.id, other].minmax] = count }
        end
      end

      def write_trace(id, trace)
        if trace
          row = to_row(@living.hash_of(trace))
          @names[id] = row[:trace_id]
          @traces.insert_conflict(:replace).insert(row)
          (@living.waiting[row[:trace_id]] || {}).to_a.each { |other, count| write_link(row[:trace_id], other, count) }
        else
          name = @names.delete(id) || id
          @traces.where(trace_id: name).delete
          %i[trace_id_a trace_id_b].each { |column| @links.where(column => name).delete }
        end
        true
      end

      def write_link(one, other, count)
        [[one, other], [other, one]].each do |a, b|
          pair = { trace_id_a: a, trace_id_b: b }
          next @links.where(pair).delete unless count

          pair[:partition_id] = @partition if @scoped
          @links.insert_conflict(:replace).insert(pair.merge(coactivation_count: count))
        end
      end

      def name(id) = @names[id] || id

      def to_row(trace)
        content = trace[:content_payload]
        content = ::JSON.generate(content) if content.is_a?(Hash) || content.is_a?(Array)
        trace.slice(*COLUMNS).merge(
          trace_type: trace[:trace_type].to_s, content: content.to_s.delete("\0"),
          emotional_valence: trace[:emotional_valence].to_s, origin: trace[:origin].to_s,
          storage_tier: trace[:storage_tier].to_s, parent_id: trace[:parent_trace_id],
          domain_tags: ::JSON.generate(trace[:domain_tags]), child_ids: ::JSON.generate(trace[:child_trace_ids]),
          associated_traces: ::JSON.generate(trace[:associated_traces]), unresolved: trace[:unresolved],
          consolidation_candidate: trace[:consolidation_candidate]
        )
      end

      def from_row(row)
        list = ->(text) { [Mirror.parse(text)].grep(Array).first || [] }
        row.slice(*COLUMNS).merge(
          trace_type: row[:trace_type], content_payload: Mirror.parse(row[:content]), origin: row[:origin],
          emotional_valence: LegionStore.scalar(Mirror.parse(row[:emotional_valence]), -1.0),
          storage_tier: row[:storage_tier], parent_trace_id: row[:parent_id], domain_tags: list.(row[:domain_tags]),
          child_trace_ids: list.(row[:child_ids]), associated_traces: list.(row[:associated_traces]),
          unresolved: row[:unresolved] || false, consolidation_candidate: row[:consolidation_candidate] || false
        )
      end
    end
    private_constant :Mirror
  end
end
