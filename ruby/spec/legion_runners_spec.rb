# frozen_string_literal: true

require "legion_helper"

RSpec.describe Mnemon::LegionRunners, :legion do
  let(:store) { new_store }
  let(:runners) { Legion::Extensions::Agentic::Memory::Trace::Runners }
  let(:host) { Object.new.extend(runners::Consolidation, runners::Traces) }

  def put(**fields)
    at = Time.now.utc - (3 * 86_400)
    store.store(trace(created_at: at, last_reinforced: at, last_decayed: at, **fields))
  end

  it "decays: weak traces go, the others show their strength of now" do
    put(strength: 0.0101, peak_strength: 0.0101, base_decay_rate: 0.1, trace_type: :sensory)
    live = store.get(put)
    put(trace_type: :firmware, base_decay_rate: 0.0, strength: 1.0)
    expect(host.decay_cycle(store: store)).to eq(decayed: 1, pruned: 1)
    expect(live[:strength]).to be_between(0.4, 0.49)
    expect(store.get(live[:trace_id])).to equal(live)
    expect(store.count).to eq(2)
  end

  it "migrates tiers" do
    live = store.get(put)
    expect(host.migrate_tier(store: store)).to eq(migrated: 1)
    expect(live[:storage_tier]).to eq(:warm)
    expect(host.migrate_tier(store: store)).to eq(migrated: 0)
  end

  it "erases by type and by agent" do
    put
    put(trace_type: :trust)
    put(partition_id: "b")
    expect(host.erase_by_type(type: "trust", store: store)).to eq(erased: 1, type: :trust)
    expect(host.erase_by_agent(partition_id: "b", store: store)).to eq(erased: 1, partition_id: "b")
    expect(store.count).to eq(1)
  end

  it "retrieves the strongest, and reinforces them" do
    weak, strong = [0.3, 0.9].map { |strength| put(strength: strength, peak_strength: 0.9) }
    put(strength: 0.05, peak_strength: 0.05)
    answer = host.retrieve_and_reinforce(limit: 2, store: store)
    expect(answer[:traces].map { _1[:trace_id] }).to eq([strong, weak])
    expect(store.get(weak)[:reinforcement_count]).to eq(1)
  end

  it "leaves a store of another class to the gem" do
    expect(host.decay_cycle(store: Object.new)).to eq(:own)
    expect(host.retrieve_and_reinforce(store: Object.new)).to eq(:own)
  end
end
