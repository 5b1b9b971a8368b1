# frozen_string_literal: true

RSpec.describe Mnemon::Store do
  let(:store) { described_class.open }

  def error_kind
    yield
    nil
  rescue Mnemon::Error => e
    e.kind
  end

  describe ".open" do
    it "keeps what was written for the next one that opens the file" do
      id = described_class.open(path) { |store| store.put(payload: { saw: "a heron" }, tags: ["birds"]).id }
      described_class.open(path) do |store|
        expect(store[id].payload).to eq(saw: "a heron")
        expect(store[id].tags).to eq(["birds"])
      end
    end

    it "closes the store after the block, also after an exception" do
      opened = nil
      expect { described_class.open(path) { |store| (opened = store) && raise(IOError) } }.to raise_error(IOError)
      expect(opened).to be_closed
    end

    it "takes options, and refuses unknown ones" do
      store = described_class.open(nil, partition: "agent-7", flush_interval: 0.5, close_timeout: 1, prune: false)
      expect(store.put(payload: 1).partition).to eq("agent-7")
      expect { described_class.open(nil, colour: 1) }.to raise_error(ArgumentError, /colour/)
      expect { described_class.open(nil, flush_interval: -1) }.to raise_error(ArgumentError, /flush_interval/)
    end

    it "refuses a file that is no store, and one in use" do
      File.write(path("other.db"), "not a database at all" * 100)
      expect(error_kind { described_class.open(path("other.db")) }).to eq(:not_a_store)
      first = described_class.open(path)
      expect(in_other_process { Mnemon::Store.open(path) }).to eq(:in_use)
      first.close
    end

    def in_other_process
      code = "require 'mnemon'; begin; Mnemon::Store.open(ARGV[0]); rescue Mnemon::Error => e; print e.kind; end"
      lib = File.expand_path("../lib", __dir__)
      IO.popen([RbConfig.ruby, "-I", lib, "-e", code, path], &:read).to_sym
    end
  end

  describe "#put and #insert" do
    it "stores every field, and gives each back" do
      at = Time.utc(2026, 11, 1, 10, 20, 30.123456r)
      other = store.put(payload: 1).id
      fields = {
        type: :episodic, partition: "p", tags: %w[a b], payload: { text: "x" }, strength: 0.25, peak_strength: 0.5,
        base_decay_rate: 0.125, confidence: 0.75, emotional_valence: -0.5, emotional_intensity: 0.5, tier: :warm,
        origin: :imprint, source_agent: "ana", created_at: at, last_reinforced: at, last_decayed: at,
        reinforcement_count: 3, parent: other, children: [other], unresolved: true, consolidation_candidate: true,
        pinned: true, encryption_key_id: "k", embedding: [0.5, -0.25], valid_until: at, superseded_by: other
      }
      trace = store.put(**fields)
      fields.each { |field, value| expect(trace.public_send(field)).to eq(value), field.to_s }
      expect(trace.to_h).to eq(fields.merge(id: trace.id, revision: 1))
      expect(store.get(trace.id)).to eq(trace)
      expect([trace.unresolved?, trace.consolidation_candidate?, trace.pinned?]).to all be(true)
    end

    it "replaces a trace as a whole, and keeps its links" do
      a, b = Array.new(2) { |n| store.put(payload: n).id }
      store.co_activate(a, b)
      expect(store.put(store[a].to_h.merge(payload: "new", reinforcement_count: 9)).revision).to eq(2)
      expect(store[a].reinforcement_count).to eq(9)
      expect(store.links(a)).to eq(b => 1)
    end

    it "refuses an insert of an id that is there" do
      id = store.insert(payload: 1)
      expect(error_kind { store.insert(id: id, payload: 2) }).to eq(:already_exists)
    end

    it "names the field that is no good, and stores nothing" do
      bad = {
        type: "smell", id: "x", payload: { a: Float::NAN }, strength: 2, confidence: Float::NAN, tags: "birds",
        created_at: "yesterday", parent: 7, children: 1, tier: :lukewarm, origin: 3, embedding: [nil],
        reinforcement_count: -1, unresolved: 1, source_agent: "\xFF", note: 1, valid_until: 1
      }
      bad.each do |field, value|
        expect { store.put(**{ payload: 1 }.merge(field => value)) }
          .to raise_error(ArgumentError, /#{field}|type/), field.to_s
      end
      expect(store).to be_empty
    end

    it "refuses a payload that is too long" do
      small = described_class.open(nil, max_payload_bytes: 100)
      expect { small.put(payload: "x" * 200) }.to raise_error(ArgumentError, /payload/)
    end
  end

  describe "conversions" do
    {
      "nil" => nil, "true" => true, "false" => false, "an Integer" => -7, "64 bits" => (2**64) - 1,
      "a Float" => 0.1, "text" => "Tromsø \u{1F426}", "NUL" => "a\0b", "an Array" => [1, [2, []]],
      "a Hash" => { a: { b: nil } }, "empty" => {}
    }.each do |name, value|
      it "gives back #{name}" do
        expect(store.put(payload: value).payload).to eq(value)
      end
    end

    it "makes text of symbols, and symbols of keys" do
      expect(store.put(payload: { "a" => :b, 1 => 2 }).payload).to eq(a: "b", "1": 2)
    end

    it "converts text in other encodings, and refuses bytes that are no text" do
      expect(store.put(payload: "Tromsø".encode("UTF-16LE")).payload).to eq("Tromsø")
      expect { store.put(payload: { a: "\xFF" }) }.to raise_error(ArgumentError, /payload/)
      expect { store.put(payload: "\xFF".b) }.to raise_error(ArgumentError, /payload/)
    end

    [Float::NAN, Float::INFINITY, 2**64, Object.new, 1r].each do |value|
      it "refuses #{value.class} #{value.inspect[0, 20]} in a payload" do
        expect { store.put(payload: [value]) }.to raise_error(ArgumentError, /payload/)
      end
    end

    it "refuses a payload that contains itself" do
      list = []
      list << list
      expect { store.put(payload: list) }.to raise_error(ArgumentError, /payload/)
    end

    it "takes times as Time, with any offset, and as text" do
      at = Time.utc(2026, 11, 24, 9, 0, 0)
      [at, at.getlocal("+09:00"), at.to_s, at.getlocal("+01:00").to_s, "2026-11-24T09:00:00Z", "2026-11-24 09:00:00"]
        .each { |time| expect(store.put(payload: 1, created_at: time).created_at).to eq(at) }
      expect(store.put(payload: 1, created_at: Time.utc(1901)).created_at).to eq(Time.utc(1901))
    end
  end

  describe "#update" do
    let(:id) { store.put(payload: "x", tags: ["a"], parent: store.put(payload: 1).id).id }

    it "changes the fields given, and removes with nil" do
      trace = store.update(id, confidence: 0.9, tags: %w[b], parent: nil, unresolved: true, payload: { n: 1 })
      expect([trace.confidence, trace.tags, trace.parent, trace.unresolved, trace.payload])
        .to eq([0.9, ["b"], nil, true, { n: 1 }])
      expect(trace.revision).to eq(2)
    end

    it "returns nil for a trace that is not there" do
      expect(store.update("00000000-0000-7000-8000-000000000000", confidence: 1)).to be_nil
      expect(store.update("00000000-0000-7000-8000-000000000000") { {} }).to be_nil
    end

    it "refuses what can't change, and unknown fields" do
      expect { store.update(id, created_at: Time.now) }.to raise_error(ArgumentError, /created_at/)
      expect { store.update(id, confidence: 2) }.to raise_error(ArgumentError, /confidence/)
    end

    it "loses no change of several threads" do
      8.times.map do
        Thread.new { 50.times { store.update(id) { |trace| { base_decay_rate: trace.base_decay_rate + 1 } } } }
      end.each(&:join)
      expect(store[id].base_decay_rate).to be_within(1e-6).of(400.01)
    end
  end

  describe "reading" do
    before do
      store.put(type: :episodic, payload: 1, tags: %w[a b], strength: 0.9, tier: :cold, partition: "p")
      store.put(type: :semantic, payload: 2, tags: %w[a], strength: 0.5, unresolved: true)
      store.put(type: :firmware, payload: 3)
    end

    def payloads(**conditions) = store.query(**conditions).map(&:payload)

    it "finds by each condition" do
      expect(payloads).to eq([3, 1, 2])
      expect(payloads(type: :semantic)).to eq([2])
      expect(payloads(type: %w[semantic firmware])).to eq([3, 2])
      expect(payloads(tags: %w[a b])).to eq([1])
      expect(payloads(any_tags: %w[a b])).to eq([1, 2])
      expect(payloads(without_tags: "b")).to eq([3, 2])
      expect(payloads(tier: :cold)).to eq([1])
      expect(payloads(partition: "p")).to eq([1])
      expect(payloads(unresolved: true)).to eq([2])
      expect(payloads(min_strength: 0.8)).to eq([3, 1])
      expect(payloads(limit: 1)).to eq([3])
      expect(payloads(order: :created)).to eq([3, 2, 1])
      expect(payloads(since: Time.now + 60)).to eq([])
      expect(payloads(until: Time.now)).to eq([3, 1, 2])
    end

    it "refuses an unknown condition, order and type" do
      expect { store.query(colour: 1) }.to raise_error(ArgumentError, /colour/)
      expect { store.query(order: :beauty) }.to raise_error(ArgumentError, /order/)
      expect { store.query(type: :smell) }.to raise_error(ArgumentError, /type/)
    end

    it "is an Enumerable in order of creation, with a size" do
      expect(store.map(&:payload)).to eq([1, 2, 3])
      expect(store.each.size).to eq(3)
      expect([store.size, store.length, store.count, store.count(type: :semantic), store.count { _1.strength > 0.7 }])
        .to eq([3, 3, 3, 1, 2])
      expect(store.first.payload).to eq(1)
    end

    it "answers for a trace as for its id" do
      trace = store.first
      expect(store.include?(trace)).to be(true)
      expect(store[trace]).to eq(trace)
      expect(store.strength(trace)).to be_within(0.01).of(0.9)
      expect(store.delete(trace)).to eq(trace)
      expect([store.delete(trace), store[trace], store.key?(trace.id)]).to eq([nil, nil, false])
    end

    it "ranks, reinforces and shows itself" do
      ids = store.map(&:id)
      expect(store.rank(ids).map { |trace, score| [trace.payload, score.class] }.first).to eq([3, Float])
      expect(store.reinforce(ids[1]).reinforcement_count).to eq(1)
      expect(store.inspect).to match(/3 traces, healthy/)
      expect(store.first.inspect).to match(/episodic 1/)
      expect(store.first.hash).to eq(store.first.hash)
      expect({ store.first => 1 }[store.first]).to eq(1)
    end
  end

  describe "links" do
    let(:ids) { Array.new(3) { |n| store.put(payload: n).id } }

    it "associates after three co-activations, and walks" do
      3.times { store.co_activate(ids[0], ids[1]) }
      3.times { store.co_activate(ids[1], ids[2]) }
      expect(store.links(ids[1])).to eq(ids[0] => 3, ids[2] => 3)
      expect(store.associated(ids[0]).map(&:id)).to eq([ids[1]])
      expect(store.walk(ids[0]).map { |trace, depth, path| [trace.payload, depth, path.size] })
        .to eq([[1, 1, 2], [2, 2, 3]])
      expect(store.unlink(ids[0], ids[1])).to be(true)
      expect(store.unlink(ids[0], ids[1])).to be(false)
      expect(store.associated(ids[0])).to eq([])
    end

    it "refuses a trace that is not there, and itself" do
      expect(error_kind { store.co_activate(ids[0], "00000000-0000-7000-8000-000000000000") }).to eq(:not_found)
      expect { store.co_activate(ids[0], ids[0]) }.to raise_error(ArgumentError)
    end
  end

  describe "work on all traces" do
    it "decays, tiers, erases and restores" do
      old = Time.now - (100 * 86_400)
      store.put(type: :sensory, payload: 1, strength: 0.011, created_at: old)
      store.put(type: :semantic, payload: 2, created_at: old)
      expect(store.decay).to eq(traces: 1, links: 0)
      expect(store.update_tiers).to eq(1)
      expect(store.first.tier).to eq(:cold)
      expect(store.restore([{ payload: 3 }, { payload: 4, partition: "p", type: :trust }])).to eq(2)
      expect(store.map(&:payload)).to contain_exactly(3, 4)
      expect(store.erase_partition("p")).to include(traces: 1)
      expect(store.erase_type(:semantic)).to include(traces: 1)
      expect(store).to be_empty
    end
  end

  describe "#enforce_quota" do
    it "evicts in the order that was chosen, and nothing without a quota" do
      payloads = lambda do |**quota|
        described_class.open(nil, **quota) do |store|
          3.times { |n| store.put(payload: n, confidence: 0.9 - (n / 10.0), last_reinforced: Time.now - 100 + n) }
          removed = store.enforce_quota
          [removed[:traces], store.map(&:payload).sort]
        end
      end
      expect(payloads.call).to eq([0, [0, 1, 2]])
      expect(payloads.call(max_traces: 2)).to eq([1, [1, 2]])
      expect(payloads.call(max_bytes: 1, eviction: :least_recently_reinforced)).to eq([2, [2]])
      expect(payloads.call(max_traces: 1, eviction: :lowest_confidence)).to eq([2, [0]])
    end

    it "refuses an order that there is not" do
      expect { described_class.open(nil, max_traces: 1, eviction: :oldest) }.to raise_error(ArgumentError, /oldest/)
    end
  end

  describe "#flush, #close, #stats and #health" do
    it "counts the rows written, and is refused once closed" do
      store = described_class.open(path, flush_interval: 3600)
      id = store.put(payload: 1).id
      expect(store.stats).to include(traces: 1, dirty: 1)
      expect([store.flush, store.flush]).to eq([1, 0])
      expect(store.health).to eq(:healthy)
      store.close
      expect(store.close).to be_nil
      expect([store.health, store.closed?, store[id].payload]).to eq([:closed, true, 1])
      expect(error_kind { store.put(payload: 2) }).to eq(:closed)
    end
  end

  it "moves to and from the original's database" do
    store.put(type: :trust, payload: { text: "x" }, tags: ["a"])
    File.delete(path) if File.exist?(path)
    described_class.open(path) do |own|
      own.restore(store.map(&:to_h))
      own.export_legion(path("old.db"))
    end
    described_class.open do |own|
      expect(own.import_legion(path("old.db"))).to include(traces: 1, known: 0)
      expect(own.first.payload).to eq(text: "x")
      expect(own.import_legion(path("old.db"))).to include(traces: 0, known: 1)
    end
  end
end
