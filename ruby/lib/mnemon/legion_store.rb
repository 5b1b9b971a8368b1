# frozen_string_literal: true

require "json"
require "set"
require "mnemon"
require "mnemon/live_trace"

module Mnemon
  # The drop-in for the Store of the gem lex-agentic-memory: its methods, over a native store. `require
  # "mnemon/legion_store"` after that gem puts it in the place of `Trace::Helpers::Store`.
  class LegionStore
    # Number of traces between which other threads get their turn.
    SLICE = 32
    # The number of co-activations that associates, and the most associated traces in a list.
    ASSOCIATED = 3
    MOST_ASSOCIATED = 20
    VALENCE_KEYS = %i[valence emotional_valence sentiment polarity score].freeze
    private_constant :SLICE, :ASSOCIATED, :MOST_ASSOCIATED, :VALENCE_KEYS

    @natives = {}
    @natives_mutex = Mutex.new

    class << self
      # The path of the file; nil for memory alone. Default: MNEMON_PATH of the environment.
      attr_writer :path

      def path = @path || ENV.fetch("MNEMON_PATH", nil)

      # Returns the one native store of the path: all stores of this process share it, and none closes it before the
      # process ends.
      def native(path)
        return Mnemon::Store.open(nil, prune: true) unless path

        key = [Process.pid, File.expand_path(path)]
        @natives_mutex.synchronize { @natives[key] ||= Mnemon::Store.open(path) }
      end

      # Imports a database of the original into the file; what the file already holds it keeps. Returns a Hash with the
      # number of :traces and :links stored, of traces already :known, and :findings, lines about what could not be read.
      def import(database) = native(path).import_legion(database)

      # Writes the file's content as a database of the original, to a path where no file exists: the way back.
      def export(database) = native(path).tap(&:flush).export_legion(database)
    end

    # The Mnemon::Store underneath.
    attr_reader :native

    def initialize(partition_id: nil)
      @mutex = Mutex.new
      @partition_id = (partition_id || default_partition).to_s
      @native = self.class.native(self.class.path)
      forget_all
      @pending = {}.compare_by_identity
      @absent = {}
      @counts = Hash.new { |hash, id| hash[id] = Hash.new(0) }
    end

    # Stores a copy of a Hash, whose lists stay the caller's; returns its +:trace_id+.
    def store(trace)
      @mutex.synchronize { keep(trace) }
    end

    # Returns the living trace: changes in place are written by the next flush.
    def get(id) = @mutex.synchronize { fetch(id) }

    def delete(id)
      @mutex.synchronize do
        key = id.to_s
        @native.legion_links(key).each_key { |other| living(other)&.[](:associated_traces)&.delete(id) }
        forget(key)
        @absent.delete(key)
        @counts.delete(key)
        @counts.each_value { |counts| counts.delete(key) }
        @native.legion_delete(key)
      end
    end

    def retrieve_by_type(type, min_strength: 0.0, limit: 100)
      settle
      living_of(@native.legion_of_type(type.to_s, min_strength.to_f, limit))
    end

    def retrieve_by_domain(tag, min_strength: 0.0, limit: 100)
      settle
      living_of(@native.__send__(:native_query, { tags: tag.to_s, min_strength: min_strength.to_f, limit: limit,
                                                  include_invalid: true }))
    end

    def retrieve_associated(id, min_strength: 0.0, limit: 20)
      settle
      living_of(@native.legion_associated(id.to_s, min_strength.to_f, limit)).map(&:to_plain)
    end

    def record_coactivation(one, other)
      return if one == other

      @mutex.synchronize do
        count = @native.legion_co_activate(one.to_s, other.to_s)
        if count.nil?
          @counts[one.to_s][other.to_s] += 1
          @counts[other.to_s][one.to_s] += 1
        elsif count >= ASSOCIATED
          [[one, other], [other, one]].each { |a, b| associate(a, b) }
        end
      end
    end

    def all_traces(min_strength: 0.0)
      settle
      all = living_of(@native.__send__(:native_all))
      min_strength.positive? ? all.select { |trace| trace[:strength] >= min_strength } : all
    end

    def firmware_traces = retrieve_by_type(:firmware)

    def count = @native.size

    # Keeps other writers of this store out while the block runs.
    def synchronize(&) = @mutex.synchronize(&)

    def walk_associations(start_id:, max_hops: 12, min_strength: 0.1)
      settle
      @native.legion_walk(start_id.to_s, max_hops, min_strength.to_f)
    end

    # Replaces all traces; links are those of their lists.
    def restore_traces(traces)
      kept = Array(traces).select { |trace| trace.is_a?(Hash) && trace[:trace_id] }
      @mutex.synchronize do
        ids = kept.to_set { |trace| trace[:trace_id].to_s }
        @native.each { |trace| @native.delete(trace.id) unless ids.include?(trace.legion_id) }
        [@pending, @absent, @counts].each(&:clear)
        forget_all
        kept.each_slice(SLICE) { |slice| slice.each { |trace| keep(trace) } && Thread.pass }
      end
      flush
    end

    # Writes what was changed, in place too, and returns when it is on disk. Flushes of several threads share one cut.
    def flush
      settle
      @native.flush
    rescue Mnemon::Error => e
      complain("flush: #{e.message}")
      raise
    end

    alias save_to_local flush

    # The traces, and their co-activations, as a Hash has them.
    def traces = to_view(TracesView)
    def associations = to_view(LinksView)

    # Hands all traces that were changed in place to the native store.
    def settle
      changed = @mutex.synchronize { (@live.values + @pending.keys).uniq(&:object_id) }
      changed.each_slice(SLICE) do |slice|
        @mutex.synchronize { slice.each { |trace| write(trace) if trace.changed? } }
        Thread.pass
      end
      @mutex.synchronize do
        changed.each { |trace| @pending.delete(trace) unless trace.changed? }
        @numbers.delete_if { |_, number| !@live.key?(number) } if @numbers.size > (2 * @live.size) + 1_000
      end
    end

    # For the gem's own specs.
    def parse_db_content(raw)
      return raw unless raw.is_a?(String) && raw.strip.match?(/\A(\{|\[\s*[{\["\]])/)

      ::JSON.parse(raw.strip, symbolize_names: true)
    rescue ::JSON::ParserError
      raw
    end

    # Called by a living trace that is changed in place: it is kept until it is written.
    def touched(trace) = @pending[trace] = true

    # Runs a cycle of decay natively, with the gem's summary.
    def decay_natively
      settle
      fading, pruned = @native.legion_decay
      @decayed_at = Time.now.to_f
      refresh
      { decayed: fading, pruned: pruned }
    end

    # Sets the tiers natively, with the gem's summary.
    def migrate_natively
      settle
      migrated = @native.update_tiers
      refresh
      { migrated: migrated }
    end

    # Returns the strongest living traces.
    def strongest(min_strength, limit)
      settle
      living_of(@native.legion_strongest(min_strength, limit))
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
      hash[:partition_id] ||= @partition_id
      id = hash[:trace_id].to_s
      live = living(id)
      if live.nil? || !live.equal?(trace)
        forget(id)
        live = adopt(id, hash)
      end
      write(live)
      touched(live) # until the next flush its lists may be changed by whoever stored it
      live.tie
      hash[:trace_id]
    end

    def write(live)
      id = live[:trace_id].to_s
      absent = @native.legion_put(live, @partition_id)
      absent.empty? ? @absent.delete(id) : @absent[id] = absent
      live.written
      @absent.each { |waiting, others| @native.legion_link(waiting, id, ASSOCIATED) if others.include?(id) }
      return unless @counts.key?(id)

      @counts.delete(id).each { |other, count| @native.legion_link(id, other, count) || (@counts[id][other] = count) }
    end

    def fetch(id)
      return if id.nil?

      living(id.to_s) || ((trace = @native.legion_find(id.to_s)) && read(trace))
    end

    # Living traces are known by numbers, each given once: Ruby's weak map forgets a key when an earlier value of it is
    # collected, though it has another one by then.
    def living(id) = (number = @numbers[id]) && @live[number]

    def forget_all
      @live = ObjectSpace::WeakMap.new
      @numbers = {}
      @last_number ||= 0
    end

    def read(trace)
      living(trace.legion_id) || adopt(trace.legion_id, @native.legion_hash(trace, @decayed_at), &:written)
    end

    def adopt(id, hash)
      live = LiveTrace.of(hash, self)
      yield live if block_given?
      @live[@numbers[id] = @last_number += 1] = live
    end

    def forget(id)
      live = living(id) or return
      live.abandon
      @pending.delete(live)
    end

    def living_of(found)
      all = []
      until (slice = found.shift(SLICE)).empty?
        @mutex.synchronize { slice.each { |trace| all << read(trace) } }
        Thread.pass
      end
      all
    end

    # Living traces show what a native change has made of their numbers.
    def refresh
      @live.values.each_slice(SLICE) do |slice|
        @mutex.synchronize do
          slice.each do |live|
            trace = live.keeper && @native.legion_find(live[:trace_id].to_s) or next
            live.refresh(@native.legion_hash(trace, @decayed_at).slice(:strength, :last_decayed, :storage_tier))
          end
        end
        Thread.pass
      end
    end

    def associate(id, other)
      list = living(id.to_s)&.[](:associated_traces)
      return if list.nil? || list.frozen? || list.include?(other) || list.size >= MOST_ASSOCIATED

      list << other
    end

    def normalized(trace)
      helper = defined?(::Legion::Extensions::Agentic::Memory::Trace::Helpers::Trace) &&
               ::Legion::Extensions::Agentic::Memory::Trace::Helpers::Trace
      return helper.normalize_trace_affect(trace) if helper && helper.respond_to?(:normalize_trace_affect)

      trace.to_h.merge(emotional_valence: scalar(trace[:emotional_valence], -1.0),
                       emotional_intensity: scalar(trace[:emotional_intensity], 0.0))
    end

    def scalar(value, least)
      value = VALENCE_KEYS.map { |key| value[key] || value[key.to_s] }.compact.first if value.is_a?(Hash)
      number = Float(value, exception: false) || 0.0
      number.nan? ? 0.0 : number.clamp(least, 1.0)
    end

    def default_partition
      ::Legion::Settings.dig(:agent, :id) || "default"
    rescue StandardError # no settings, or none of agents: as in the original
      "default"
    end

    def complain(message)
      defined?(::Legion::Logging) ? ::Legion::Logging.error("[mnemon] #{message}") : warn("[mnemon] #{message}")
    end
  end
end

require "mnemon/legion_views"

module Legion
  module Extensions
    module Agentic
      module Memory
        module Trace
          module Helpers
            remove_const(:Store) if const_defined?(:Store, false)
            Store = ::Mnemon::LegionStore
          end
        end
      end
    end
  end
end
