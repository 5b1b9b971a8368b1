# frozen_string_literal: true

require "mnemon/legion_store"

module Mnemon
  # Hands the runners of the original gem that work on all traces to the native store, with the same summaries. They
  # are prepended to the gem's modules; a store of another class goes to the gem's own method.
  module LegionRunners
    def self.native(store) = store.is_a?(LegionStore) ? store : nil

    # For Runners::Consolidation.
    module Consolidation
      def decay_cycle(store: nil, **)
        native = LegionRunners.native(store || default_store)
        native ? native.decay_natively : super
      end

      def migrate_tier(store: nil, **)
        native = LegionRunners.native(store || default_store)
        native ? native.migrate_natively : super
      end

      # Evicts nothing unless LegionStore.quota says so: the gem's own store has nothing to evict with.
      def enforce_quota(store: nil, **)
        native = LegionRunners.native(store || default_store)
        native && LegionStore.quota ? native.enforce_quota_natively : super
      end

      def erase_by_type(type:, store: nil, **)
        native = LegionRunners.native(store || default_store)
        native ? { erased: native.delete_found(type: type), type: type.to_sym } : super
      end

      def erase_by_agent(partition_id:, store: nil, **)
        native = LegionRunners.native(store || default_store)
        native ? { erased: native.delete_found(partition: partition_id), partition_id: partition_id } : super
      end
    end

    # For Runners::Traces.
    module Traces
      def retrieve_and_reinforce(limit: 10, store: nil, **)
        native = LegionRunners.native(store || default_store) or return super

        top = native.strongest(0.1, limit)
        top.each do |trace|
          next if trace[:base_decay_rate].zero? # firmware

          trace[:reinforcement_count] += 1
          trace[:last_reinforced] = Time.now.utc
        end
        begin
          native.flush unless top.empty?
        rescue StandardError # has been logged, and what was changed is kept: as in the gem
          nil
        end
        { count: top.size, traces: top }
      end

      # Scores of another time than now are computed by the gem.
      def retrieve_ranked(trace_ids: [], store: nil, query_time: nil, **)
        native = LegionRunners.native(store || default_store)
        native && query_time.nil? ? native.rank_natively(trace_ids) : super
      end
    end

    if defined?(::Legion::Extensions::Agentic::Memory::Trace::Runners)
      runners = ::Legion::Extensions::Agentic::Memory::Trace::Runners
      runners::Consolidation.prepend(Consolidation) if runners.const_defined?(:Consolidation)
      runners::Traces.prepend(Traces) if runners.const_defined?(:Traces)
    end
  end
end
