# frozen_string_literal: true

require "legion_helper"

RSpec.describe Mnemon::LegionStore, :legion do
  let(:store) { new_store }

  it "is in the place of the original's store" do
    expect(Legion::Extensions::Agentic::Memory::Trace::Helpers::Store).to be(described_class)
  end

  it "gives the same living trace each time, and copies of associated ones" do
    a, b = Array.new(2) { store.store(trace) }
    3.times { store.record_coactivation(a, b) }
    expect(store.get(a)).to equal(store.get(a))
    expect(store.retrieve_associated(a).map { _1[:trace_id] }).to eq([b])
    expect(store.retrieve_associated(a).first).not_to equal(store.get(b))
  end

  it "writes what was changed in place: numbers, tags, payloads, keys of the host's own" do
    id = store.store(trace)
    store.flush
    live = store.get(id)
    live[:strength] = 0.75
    live[:domain_tags] << "e"
    live[:content_payload][:more] = { deep: [1] }
    live[:note] = "mine"
    found = reopened.get(id)
    expect([found[:strength], found[:domain_tags], found[:content_payload], found[:note]])
      .to eq([0.75, %w[d e], { text: "x", more: { deep: [1] } }, "mine"])
  end

  it "writes what was changed in place though nobody kept the trace and the collector ran" do
    id = store.store(trace)
    store.flush
    (proc { store.get(id)[:confidence] = 0.875 }).call
    5.times { GC.start }
    expect(reopened.get(id)[:confidence]).to eq(0.875)
  end

  it "writes what is changed in the lists of a Hash that was handed in, also after a flush" do
    hash = trace
    other = store.store(trace)
    id = store.store(hash)
    store.flush
    5.times { GC.start }
    hash[:associated_traces] << other
    hash[:domain_tags] << "later"
    found = reopened.get(id)
    expect([found[:associated_traces], found[:domain_tags]]).to eq([[other], %w[d later]])
  end

  it "unlinks by storing an empty list, and links ids that are stored later" do
    a, b = Array.new(2) { SecureRandom.uuid }
    store.store(trace(trace_id: a, associated_traces: [b]))
    store.store(trace(trace_id: b))
    expect(store.walk_associations(start_id: a)).to eq([{ trace_id: b, depth: 1, path: [a, b] }])
    store.store(trace(trace_id: a, associated_traces: []))
    expect(store.retrieve_associated(a)).to eq([])
  end

  it "counts co-activations, of traces stored later too" do
    a, b = Array.new(2) { SecureRandom.uuid }
    2.times { store.record_coactivation(a, b) }
    expect(store.associations[a][b]).to eq(2)
    [a, b].each { |id| store.store(trace(trace_id: id)) }
    store.record_coactivation(a, b)
    expect([store.associations[a][b], store.associations.dig(b, a)]).to eq([3, 3])
    expect(store.get(a)[:associated_traces]).to eq([b])
    store.delete(b)
    expect([store.associations[a][b], store.get(a)[:associated_traces]]).to eq([0, []])
  end

  it "serves two stores of two partitions on one file" do
    second = new_store("b")
    ids = [store.store(trace), second.store(trace)]
    expect(ids.map { |id| second.get(id)[:partition_id] }).to eq(%w[a b])
    expect(second.native).to equal(store.native)
  end

  it "keeps text with NUL, scrubs bytes that are no text, and keeps symbols and keys" do
    payload = { "key" => :symbol, text: "a\0b", bytes: "ok\xFFok".b }
    id = store.store(trace(content_payload: payload))
    expect(reopened.get(id)[:content_payload]).to eq("key" => :symbol, text: "a\0b", bytes: "okok")
  end

  it "takes symbols, strings and unknown names as types" do
    ids = [:semantic, "semantic", :smell].map { |type| store.store(trace(trace_type: type)) }
    found = reopened
    expect(ids.map { |id| found.get(id)[:trace_type] }).to eq(%i[semantic semantic smell])
    expect(found.retrieve_by_type(:semantic).map { _1[:trace_id] }).to match_array(ids[0, 2])
    expect(found.retrieve_by_type(:smell).map { _1[:trace_id] }).to eq(ids[2, 1])
  end

  it "takes ids that are no UUID, strengths beyond 1, NaN, nil and Hashes as valence" do
    id = store.store(trace(trace_id: "error-7", strength: 3, confidence: Float::NAN, emotional_valence: nil))
    other = store.store(trace(emotional_valence: { valence: -0.5 }))
    found = reopened
    expect([id, found.get("error-7")[:trace_id], found.get("error-7")[:strength]]).to eq(["error-7", "error-7", 1.0])
    expect([found.get(id)[:emotional_valence], found.get(other)[:emotional_valence]]).to eq([0.0, -0.5])
  end

  it "takes times as Time and as String, and restores" do
    store.store(trace)
    at = Time.utc(2026, 1, 2, 3, 4, 5)
    store.restore_traces([trace(trace_type: "trust", created_at: at.to_s, last_reinforced: at), { no: "id" }, nil])
    expect(store.count).to eq(1)
    expect(reopened.all_traces.first).to include(trace_type: :trust, created_at: at, last_reinforced: at)
  end

  it "answers as Hashes do" do
    first = store.store(trace)
    second = store.store(trace)
    traces = store.traces
    expect(traces.values).to eq(store.all_traces)
    expect([traces.keys, traces.size, traces.key?(first), traces.key?("no")]).to eq([[first, second], 2, true, false])
    expect(traces.each_value.map { _1[:trace_id] }).to eq([first, second])
    expect(traces.fetch("no", 1)).to eq(1)
    expect { traces.fetch("no") }.to raise_error(KeyError)
    expect(traces.dig(first, :strength)).to eq(0.5)
    expect(traces.values_at(second, "no").map { _1&.[](:trace_id) }).to eq([second, nil])
    expect(traces.delete(first)[:trace_id]).to eq(first)
    expect(store.count).to eq(1)
  end

  it "hands out Hashes that Marshal and dup take" do
    live = store.get(store.store(trace))
    expect(Marshal.load(Marshal.dump(live))).to eq(live)
    expect(live.dup).to be_an_instance_of(Hash)
    expect(live).to be_a(Hash)
  end

  it "finds by tag and type, strongest first, and writes before it looks" do
    weak, strong = [0.2, 0.9].map { |strength| store.store(trace(strength: strength, peak_strength: 0.9)) }
    expect(store.retrieve_by_domain("d").map { _1[:trace_id] }).to eq([strong, weak])
    store.get(weak)[:strength] = 0.8
    expect(store.retrieve_by_type(:semantic, min_strength: 0.7, limit: 5).size).to eq(2)
    expect(store.firmware_traces).to eq([])
  end

  it "does not answer to what would make the gem's quota evict" do
    %i[total_bytes delete_least_recently_used delete_lowest_confidence batch_delete_by_type]
      .each { |name| expect(store).not_to respond_to(name) }
  end

  it "survives the collector and compaction while traces are handed out" do
    ids = Array.new(500) { |n| store.store(trace(content_payload: { n: n })) }
    store.flush
    kept = ids.first(50).map { |id| store.get(id) }
    GC.start
    GC.compact
    kept.each { |live| live[:confidence] = 0.25 }
    expect(ids.first(50).map { |id| store.get(id) }.zip(kept)).to all(satisfy { |a, b| a.equal?(b) })
    found = reopened
    expect(ids.first(51).map { |id| found.get(id)[:confidence] }).to eq(([0.25] * 50) + [0.5])
  end

  it "loses nothing of 8 threads that store, change in place and flush" do
    threads = Array.new(8) do |n|
      Thread.new do
        20.times do |m|
          id = store.store(trace(trace_id: "#{n}/#{m}"))
          store.get(id)[:reinforcement_count] += m
          store.flush if (m % 5).zero?
        end
      end
    end
    threads.each(&:join)
    found = reopened
    expect((0...8).to_a.product((0...20).to_a))
      .to all(satisfy { |n, m| found.get("#{n}/#{m}")[:reinforcement_count] == m })
  end

  it "logs what a flush raises, and keeps the changes" do
    live = store.get(store.store(trace))
    store.flush
    store.native.close
    live[:confidence] = 0.75
    expect { expect { store.flush }.to raise_error(Mnemon::Error) }.to output(/flush.*closed/).to_stderr
    expect(live).to be_changed
  end

  it "exports contents as the original has them, and links" do
    a = store.store(trace(content_payload: { text: "x" }, note: "a key of the host's own"))
    b = store.store(trace(trace_type: :smell, content_payload: "plain"))
    3.times { store.record_coactivation(a, b) }
    expect(described_class.export(path("original.db"))).to eq(2)
    described_class.close
    described_class.path = path("again.db")
    expect(described_class.import(path("original.db"))).to include(traces: 2, links: 1)
    found = new_store
    expect([a, b].map { |id| found.get(id)[:content_payload] }).to eq([{ text: "x" }, "plain"])
    expect(found.get(a)[:associated_traces]).to eq([b])
  end

  it "imports the original's database, and exports one" do
    original = ENV.fetch("MNEMON_LEGION_DB", File.expand_path("../../../shared/data/legion_local.db", __dir__))
    skip "#{original} is not there" unless File.exist?(original)
    imported = described_class.import(original)
    expect(imported[:traces]).to be > 0
    expect(store.count).to eq(imported[:traces])
    expect(described_class.export(path("back.db"))).to eq(store.count)
  end
end
