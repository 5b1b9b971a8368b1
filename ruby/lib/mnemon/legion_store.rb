# frozen_string_literal: true

require "json"
require "set"
require "mnemon"
require "mnemon/living"

module Mnemon
  # The drop-in for the Store of the gem lex-agentic-memory: its methods, over a native store. `require
  # "mnemon/legion_store"` after that gem puts it in the place of `Trace::Helpers::Store`.
  class LegionStore
    # Number of traces between which other threads get their turn.
    SLICE = 32
    VALENCE_KEYS = %i[valence emotional_valence sentiment polarity score].freeze
    # The longest payload, in bytes: about what SQLite takes, as the original has no limit.
    MAX_PAYLOAD_BYTES = 900_000_000
    private_constant :SLICE, :VALENCE_KEYS, :MAX_PAYLOAD_BYTES

    @shared = {}
    @shared_mutex = Mutex.new
    # The stores with a mirror, and the process that made each.
    @mirrored = ObjectSpace::WeakMap.new

    class << self
      # The path of the file; nil for the gem's tables, or memory alone. Default: MNEMON_PATH of the environment.
      attr_writer :path

      def path = @path || ENV.fetch("MNEMON_PATH", nil)

      # The limits that `enforce_quota` of the runners keeps a store within: a Hash with :max_traces, :max_bytes and
      # :eviction, which is :least_recently_reinforced or :lowest_confidence. Default: nil, and nothing is evicted. Set
      # it before the first store is made.
      attr_accessor :quota

      # Imports a database of the original into the file; what the file already holds it keeps. Returns a Hash with the
      # number of :traces and :links stored, of traces already :known, and :findings, lines about what could not be
      # read.
      def import(database) = living(path).native.import_legion(database)

      # Writes the file's content as a database of the original, to a path where no file exists: the way back.
      def export(database) = living(path).tap(&:settle).native.export_legion(database)

      # Writes all changes, also those made in place, and closes the files: called when the process ends.
      def close
        mirrored, @mirrored = @mirrored, ObjectSpace::WeakMap.new
        mirrored.keys.each { |store| to_the_end { store.flush } if mirrored[store] == Process.pid }
        own = @shared_mutex.synchronize do
          @shared.keys.select { |pid, _| pid == Process.pid }.map { |key| @shared.delete(key) }
        end
        own.each do |living|
          to_the_end { living.settle }
          to_the_end { living.native.close }
        end
      end

      # Returns what the stores of one path share: none closes it before the process ends.
      def living(path)
        return Living.new(open_native(nil)) unless path

        key = [Process.pid, File.expand_path(path)]
        @shared_mutex.synchronize { @shared[key] ||= Living.new(open_native(path)) }
      end

      # Returns the mirror of a store in the gem's tables, if they are there.
      def mirror(store, living, partition)
        database = Mirror.database or return
        @mirrored[store] = Process.pid
        Mirror.new(database, living, partition)
      end

      # Returns an emotion as a number: what is no number is 0.
      def scalar(value, least)
        value = VALENCE_KEYS.map { |key| value[key] || value[key.to_s] }.compact.first if value.is_a?(Hash)
        number = Float(value, exception: false) || 0.0
        number.nan? ? 0.0 : number.clamp(least, 1.0)
      end

      def log(message)
        defined?(::Legion::Logging) ? ::Legion::Logging.error("[mnemon] #{message}") : warn("[mnemon] #{message}")
      end

      private

      def open_native(path) = Mnemon::Store.open(path, max_payload_bytes: MAX_PAYLOAD_BYTES, **(quota || {}))

      # The process ends: what one store can't write keeps the others from nothing.
      def to_the_end
        yield
      rescue StandardError => e
        log("closing: #{e.message}")
      end
    end

    # The Mnemon::Store underneath.
    attr_reader :native

    def initialize(partition_id: nil)
      @partition_id = (partition_id || default_partition).to_s
      path = self.class.path
      @living = self.class.living(path)
      @native = @living.native
      @mutex = @living.mutex
      @mirror = self.class.mirror(self, @living, @partition_id) unless path
    end

    # Stores a copy of a Hash, whose lists stay the caller's; returns its +:trace_id+.
    def store(trace)
      @mutex.synchronize { keep(trace) }
    end

    # Returns the living trace: changes in place are written by the next flush.
    def get(id) = @living.fetch(id)

    def delete(id) = @living.delete(id)

    def retrieve_by_type(type, min_strength: 0.0, limit: 100)
      settle
      @living.of(@native.legion_of_type(type.to_s, min_strength.to_f, limit))
    end

    def retrieve_by_domain(tag, min_strength: 0.0, limit: 100)
      settle
      @living.of(@native.__send__(:native_query, { tags: tag.to_s, min_strength: min_strength.to_f, limit: limit,
                                                   include_invalid: true }))
    end

    def retrieve_associated(id, min_strength: 0.0, limit: 20)
      settle
      @living.of(@native.legion_associated(id.to_s, min_strength.to_f, limit)).map(&:to_plain)
    end

    def record_coactivation(one, other)
      @living.co_activate(one, other) unless one == other
    end

    # Returns a TracesList, which makes its Hashes when they are looked at.
    def all_traces(min_strength: 0.0)
      settle
      all = TracesList.new(@living, @native.__send__(:native_all))
      min_strength.positive? ? all.select { |trace| trace[:strength] >= min_strength } : all
    end

    def firmware_traces = retrieve_by_type(:firmware)

    def count = @native.size

    # Keeps other writers out while the block runs.
    def synchronize(&) = @mutex.synchronize(&)

    def walk_associations(start_id:, max_hops: 12, min_strength: 0.1)
      settle
      @native.legion_walk(start_id.to_s, max_hops, min_strength.to_f)
    end

    # Replaces the traces of the store's partition; links are those of their lists.
    def restore_traces(traces)
      kept = Array(traces).select { |trace| trace.is_a?(Hash) && trace[:trace_id] }
      @mutex.synchronize do
        @living.delete_all_but(kept.to_set { |trace| trace[:trace_id].to_s }, @partition_id)
        kept.each_slice(SLICE) { |slice| slice.each { |trace| keep(trace) } && Thread.pass }
      end
      flush
    end

    # Writes what was changed, in place too, and returns when it is on disk. Flushes of several threads share one cut.
    def flush
      settle
      written = @native.flush
      @mirror&.write
      written
    rescue StandardError => e
      self.class.log("flush: #{e.message}")
      raise
    end

    alias save_to_local flush

    # The traces, and their co-activations, as a Hash has them.
    def traces = to_view(TracesView)
    def associations = to_view(LinksView)

    # Hands all traces that were changed in place to the native store.
    def settle = @living.settle

    # Returns the value of a text of the gem's tables: that of an object or list in JSON, or the text itself.
    def parse_db_content(raw) = Mirror.parse(raw)

    # Counts of co-activations with traces that are not stored yet, by id and id.
    def waiting = @living.waiting

    # Runs a cycle of decay natively, with the gem's summary.
    def decay_natively
      settle
      fading, pruned = @native.legion_decay
      @living.refresh(Time.now.to_f)
      { decayed: fading, pruned: pruned }
    end

    # Sets the tiers natively, with the gem's summary.
    def migrate_natively
      settle
      migrated = @native.update_tiers
      @living.refresh
      { migrated: migrated }
    end

    # Evicts what is beyond the quota natively, with the gem's summary.
    def enforce_quota_natively
      settle
      @native.enforce_quota
      @living.refresh
      traces, bytes = self.class.quota.values_at(:max_traces, :max_bytes)
      within = (traces.nil? || count <= traces) && (bytes.nil? || @native.payload_bytes <= bytes)
      { success: true, within_limits: within }
    end

    # Ranks stored traces natively, with the gem's answer.
    def rank_natively(ids)
      settle
      ranked = @native.legion_rank(ids)
      living = @living.of(ranked.map(&:first))
      { success: true, traces: living.zip(ranked).map { |trace, (_, score)| { trace: trace, score: score } } }
    end

    # Returns the strongest living traces.
    def strongest(min_strength, limit)
      settle
      @living.of(@native.legion_strongest(min_strength, limit))
    end

    # Deletes what a native query finds; returns the number.
    def delete_found(**conditions)
      settle
      found = @native.query(**conditions, include_invalid: true)
      found.each_slice(SLICE) { |slice| slice.each { |trace| delete(trace.legion_id) } && Thread.pass }
      found.size
    end

    private

    def to_view(kind)
      settle
      kind.new(self)
    end

    def keep(trace)
      hash = normalized(trace)
      hash = hash.merge(partition_id: @partition_id) unless hash[:partition_id]
      @living.keep(hash, trace)
    end

    def normalized(trace)
      helper = defined?(::Legion::Extensions::Agentic::Memory::Trace::Helpers::Trace) &&
               ::Legion::Extensions::Agentic::Memory::Trace::Helpers::Trace
      return helper.normalize_trace_affect(trace) if helper && helper.respond_to?(:normalize_trace_affect)

      trace.to_h.merge(emotional_valence: self.class.scalar(trace[:emotional_valence], -1.0),
                       emotional_intensity: self.class.scalar(trace[:emotional_intensity], 0.0))
    end

    def default_partition
      ::Legion::Settings.dig(:agent, :id) || "default"
    rescue StandardError # no settings, or none of agents: as in the original
      "default"
    end
  end
end

require "mnemon/legion_list"
require "mnemon/legion_mirror"
require "mnemon/legion_views"

# After the host's hooks, and before the native stores are closed.
at_exit { Mnemon::LegionStore.close }

module Legion
  module Extensions
    module Agentic
      module Memory
        # The gem's `shared_store` makes a store with this; where a path is set it is always the drop-in, also if the
        # gem's settings choose PostgreSQL or its cache.
        module Trace
          singleton_class.prepend(Module.new do
            private

            def create_store = ::Mnemon::LegionStore.path ? ::Mnemon::LegionStore.new : super
          end)

          module Helpers
            remove_const(:Store) if const_defined?(:Store, false)
            Store = ::Mnemon::LegionStore
          end
        end
      end
    end
  end
end
