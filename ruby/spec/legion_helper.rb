# frozen_string_literal: true

require "securerandom"

# The gem's modules, as far as the drop-in meets them. A method that the drop-in replaces answers +:own+.
module Legion
  module Extensions
    module Agentic
      module Memory
        module Trace
          class << self
            def shared_store = @shared_store ||= create_store
            def reset_store! = @shared_store = nil

            private

            def create_store = :own
          end

          module Helpers
            class Store; end
          end

          module Runners
            module Consolidation
              %i[decay_cycle migrate_tier erase_by_type erase_by_agent enforce_quota].each do |name|
                define_method(name) { |**| :own }
              end
              def default_store = Legion::Extensions::Agentic::Memory::Trace.shared_store
            end

            module Traces
              def retrieve_and_reinforce(**) = :own
              def retrieve_ranked(**) = :own
            end
          end
        end
      end
    end
  end
end

require "mnemon/legion_runners"

# What the specs of the drop-in share: a file of their own, and traces of the gem's shape.
module LegionHelpers
  def trace(**fields)
    now = Time.now.utc
    { trace_id: SecureRandom.uuid, trace_type: :semantic, content_payload: { text: "x" }, strength: 0.5,
      peak_strength: 0.5, base_decay_rate: 0.01, emotional_valence: 0.0, emotional_intensity: 0.0, domain_tags: ["d"],
      origin: :direct_experience, created_at: now, last_reinforced: now, last_decayed: now, reinforcement_count: 0,
      confidence: 0.5, storage_tier: :hot, partition_id: nil, associated_traces: [], parent_trace_id: nil,
      child_trace_ids: [], unresolved: false, consolidation_candidate: false }.merge(fields)
  end

  def new_store(partition = "a") = Mnemon::LegionStore.new(partition_id: partition)

  # What a store finds that opens the file after this one was closed.
  def reopened
    Mnemon::LegionStore.close
    new_store
  end
end

RSpec.configure do |config|
  config.include LegionHelpers, :legion
  config.before(:each, :legion) { Mnemon::LegionStore.path = path }
  config.after(:each, :legion) do
    Mnemon::LegionStore.close
    Mnemon::LegionStore.path = Mnemon::LegionStore.quota = nil
  end
end
