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

  it "lets go of a living trace that a cycle has removed" do
    at = Time.now.utc - (3 * 86_400)
    weak = store.get(put(strength: 0.0101, peak_strength: 0.0101, base_decay_rate: 0.1))
    host.decay_cycle(store: store)
    expect(store.get(weak[:trace_id])).to be_nil
    weak[:last_reinforced] = at
    store.flush
    expect(store.count).to eq(0)
  end

  it "ranks stored traces, best first, with the score of now" do
    old, calm, storm = [{ strength: 0.9 }, {}, { emotional_intensity: 1.0 }].map { |fields| put(**fields) }
    [calm, storm].each { |id| store.get(id)[:last_reinforced] = Time.now.utc }
    3.times { store.record_coactivation(calm, storm) }
    answer = host.retrieve_ranked(trace_ids: [old, calm, "none", storm, calm], store: store)
    expect(answer.keys).to eq(%i[success traces])
    expect(answer[:traces].map { |ranked| ranked[:trace][:trace_id] }).to eq([storm, calm, calm, old])
    expect(answer[:traces][0][:trace]).to equal(store.get(storm))
    expect(answer[:traces][1][:score]).to be_within(0.02).of(0.5 * 1.15)
    expect(host.retrieve_ranked(store: store)).to eq(success: true, traces: [])
  end

  it "leaves scores of another time, and a quota that nobody has set, to the gem" do
    expect(host.retrieve_ranked(trace_ids: [put], query_time: Time.now, store: store)).to eq(:own)
    expect(host.enforce_quota(store: store)).to eq(:own)
  end

  it "evicts what is beyond the quota, and nothing that may not go" do
    Mnemon::LegionStore.quota = { max_traces: 3, max_bytes: 1_000 }
    firmware = put(trace_type: :firmware)
    ids = Array.new(4) { |n| put(last_reinforced: Time.now.utc - 100 + n) }
    held = store.get(ids[0])
    expect(host.enforce_quota(store: store)).to eq(success: true, within_limits: true)
    expect(store.all_traces.map { |live| live[:trace_id] }).to match_array([firmware, *ids.last(2)])
    held[:confidence] = 0.75
    expect([store.get(ids[0]), store.count]).to eq([nil, 3])
    put(trace_type: :firmware, content_payload: "x" * 2_000)
    expect(host.enforce_quota(store: store)).to eq(success: true, within_limits: false)
  end

  it "reinforces though the flush is refused, as the gem does" do
    id = put
    store.native.close
    expect { host.retrieve_and_reinforce(store: store) }.to output(/flush/).to_stderr
    expect(store.get(id)[:reinforcement_count]).to eq(1)
  end

  it "works on the shared store if none is given" do
    shared = Legion::Extensions::Agentic::Memory::Trace.shared_store
    shared.store(trace)
    expect(host.erase_by_type(type: :semantic)).to eq(erased: 1, type: :semantic)
  ensure
    Legion::Extensions::Agentic::Memory::Trace.reset_store!
  end

  it "leaves a store of another class to the gem" do
    given = { store: Object.new, type: :trust, partition_id: "a" }
    names = %i[decay_cycle migrate_tier erase_by_type erase_by_agent enforce_quota retrieve_and_reinforce
               retrieve_ranked]
    expect(names.map { |name| host.public_send(name, **given) }).to all(eq(:own))
  end
end
