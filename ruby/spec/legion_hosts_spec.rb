# frozen_string_literal: true

require "legion_helper"

# What hosts of the original gem do with its store, beside what legion_store_spec shows.
RSpec.describe "Hosts of the drop-in", :legion do
  let(:gem_module) { Legion::Extensions::Agentic::Memory::Trace }
  let(:store) { new_store }

  after { gem_module.reset_store! }

  describe "how a store is made" do
    it "is the gem's shared store if a path is set, whatever the gem's settings choose" do
      expect(gem_module.shared_store).to be_a(Mnemon::LegionStore)
      gem_module.reset_store!
      Mnemon::LegionStore.path = nil
      expect(gem_module.shared_store).to eq(:own)
    end

    it "takes the path from the environment" do
      Mnemon::LegionStore.path = nil
      ENV["MNEMON_PATH"] = path("env.db")
      gem_module.shared_store.flush
      expect(File).to exist(path("env.db"))
    ensure
      ENV.delete("MNEMON_PATH")
    end

    it "takes no partition, and parses on an object that was only allocated" do
      id = Mnemon::LegionStore.new.store(trace)
      expect(store.get(id)[:partition_id]).to eq("default")
      made = Mnemon::LegionStore.allocate
      expect(['{"a":1}', "[[1]]", "[x", "text", nil].map { |raw| made.parse_db_content(raw) })
        .to eq([{ a: 1 }, [[1]], "[x", "text", nil])
    end

    it "shows a forgotten store and the one after it each other's changes in place" do
      first = gem_module.shared_store
      id = first.store(trace)
      mine = first.get(id)
      gem_module.reset_store!
      second = gem_module.shared_store
      expect(second.get(id)).to equal(mine)
      mine[:confidence] = 0.25
      second.get(id)[:strength] = 0.125
      second.flush
      expect(reopened.get(id)).to include(confidence: 0.25, strength: 0.125)
    end
  end

  describe "changes in place" do
    it "are written though they are deep inside and nobody kept the trace" do
      ids = Array.new(3) { store.store(trace(content_payload: { deep: { list: [+"a"] } })) }
      store.flush
      store.flush
      (proc do
        store.get(ids[0])[:content_payload][:deep][:list] << "b"
        store.retrieve_by_type(:semantic)[1][:domain_tags] << "z"
        store.traces.values.last[:content_payload][:deep][:list].first << "c"
      end).call
      5.times { GC.start }
      store.flush
      found = reopened.all_traces
      expect(found.flat_map { |live| live[:content_payload][:deep][:list] }.sort).to eq(%w[a a ac b])
      expect(found.flat_map { |live| live[:domain_tags] }.sort).to eq(%w[d d d z])
    end

    it "are let go once they have been looked at" do
      id = store.store(trace)
      store.get(id)
      3.times { store.flush }
      GC.start
      alive = -> { ObjectSpace.each_object(Mnemon::LiveTrace).count { |live| live[:trace_id] == id } }
      expect(alive.call).to eq(0)
    end

    it "of a deleted trace belong to its holder" do
      live = store.get(store.store(trace))
      store.delete(live[:trace_id])
      live[:confidence] = 0.75
      store.flush
      expect([store.get(live[:trace_id]), store.count]).to eq([nil, 0])
    end
  end

  describe "traces and associations" do
    let!(:ids) { Array.new(3) { |n| store.store(trace(strength: (n + 1) / 10.0)) } }

    it "answer as Hashes do" do
      traces = store.traces
      expect(traces.select { |_, live| live[:strength] > 0.15 }.keys).to eq(ids.last(2))
      expect(traces.each.next).to eq([ids.first, store.get(ids.first)])
      expect(traces.each_value.map { |live| live[:trace_id] }).to eq(ids)
      expect(traces.transform_values { |live| live[:strength] }.values).to eq([0.1, 0.2, 0.3])
      expect([traces.count, traces.count { |_, live| live[:strength] > 0.25 }]).to eq([3, 1])
      expect(traces.fetch("none") { |id| id * 2 }).to eq("nonenone")
      expect({}.merge(traces).keys).to eq(ids)
      expect(traces.to_h { |id, live| [id, live[:strength]] }).to eq(ids.zip([0.1, 0.2, 0.3]).to_h)
      expect(traces.to_a.size).to eq(3)
    end

    it "change the store when traces are changed as a Hash" do
      traces = store.traces
      expect(traces.delete_if { |id, _| id == ids.first }).to equal(traces)
      traces[ids.first] = trace(trace_id: ids.first, strength: 0.875)
      traces.merge!(ids.last => trace(trace_id: ids.last, strength: 0.75))
      expect(ids.map { |id| reopened.get(id)[:strength] }).to eq([0.875, 0.2, 0.75])
      new_store.traces.clear
      expect(reopened.count).to eq(0)
    end

    it "show co-activations from both sides, and refuse to be changed" do
      store.record_coactivation(ids[0], ids[1])
      store.record_coactivation(ids[0], "not stored")
      shown = store.associations
      expect(shown.to_h).to eq(ids[0] => { ids[1] => 1, "not stored" => 1 }, ids[1] => { ids[0] => 1 },
                               "not stored" => { ids[0] => 1 })
      expect([shown.dig(ids[1], ids[0]), shown[ids[2]][ids[0]], shown.key?(ids[2]), shown.size]).to eq([1, 0, false, 3])
      expect(shown.fetch(ids[1])).to eq(ids[0] => 1)
      expect(shown.each_value.to_a.size).to eq(3)
      expect { shown[ids[0]][ids[1]] = 7 }.to raise_error(FrozenError)
      expect { shown["x"] = {} }.to raise_error(FrozenError)
    end
  end

  describe "all_traces" do
    let!(:ids) { Array.new(100) { |n| store.store(trace(trace_id: "t#{n}", reinforcement_count: n)) } }

    it "is as an Array to whoever takes one" do
      all = store.all_traces
      expect([all.size, all.count, all.length, all.empty?]).to eq([100, 100, 100, false])
      expect(all.first[:trace_id]).to eq("t0")
      expect(all.first(3).map { |live| live[:trace_id] }).to eq(%w[t0 t1 t2])
      expect(all.select { |live| live[:reinforcement_count] > 97 }).to eq(all.last(2))
      expect(all[50]).to equal(store.get("t50"))
      expect([*all, *store.all_traces].uniq.size).to eq(100)
      expect(([] + all)).to eq(all)
      expect(all).to eq(store.all_traces.to_a)
      one, two = *all
      expect([one, two].map { |live| live[:trace_id] }).to eq(%w[t0 t1])
      expect(JSON.parse(JSON.generate(all: store.all_traces))["all"].size).to eq(100)
      expect(Marshal.load(Marshal.dump(store.all_traces)).map { |hash| hash[:trace_id] }).to eq(ids)
      expect(store.all_traces(min_strength: 0.6)).to eq([])
      expect(store.all_traces.sort_by { |live| -live[:reinforcement_count] }.first).to equal(store.get("t99"))
      expect(store.all_traces.each.next).to equal(store.get("t0"))
    end

    it "writes what is changed while it is walked, deep inside too, and keeps no trace" do
      2.times { store.flush }
      store.all_traces.each { |live| live[:domain_tags] << "seen" if live[:reinforcement_count].even? }
      GC.start
      expect(ObjectSpace.each_object(Mnemon::LiveTrace).count { |live| live[:reinforcement_count].odd? }).to be < 25
      expect(reopened.retrieve_by_domain("seen").size).to eq(50)
    end

    it "shows a trace as it is when it is looked at" do
      all = store.all_traces
      store.store(trace(trace_id: "t1", confidence: 0.75))
      store.delete("t2")
      expect(all.first(3).map { |live| live[:confidence] }).to eq([0.5, 0.75, 0.5])
      all.first(3)[2][:confidence] = 0.75
      expect([store.get("t2"), store.count]).to eq([nil, 99])
    end
  end

  describe "odd input" do
    it "is taken: names that no field holds, long payloads, unknown origins and tiers" do
      odd = trace(domain_tags: ["x" * 2_000, "", "a\0b", "ok", "\xFF".b], content_payload: "y" * 2_000_000,
                  origin: :dream, storage_tier: :glacier, source_agent_id: "s" * 2_000, partition_id: :b,
                  parent_trace_id: "parent", child_trace_ids: ["child"], emotional_intensity: 7,
                  reinforcement_count: -1, base_decay_rate: Float::NAN)
      id = store.store(odd)
      found = reopened.get(id)
      expect(found).to include(domain_tags: ["x" * 2_000, "", "a\0b", "ok", ""], origin: :dream,
                               storage_tier: :glacier, source_agent_id: "s" * 2_000, partition_id: "b",
                               parent_trace_id: "parent", child_trace_ids: ["child"], emotional_intensity: 1.0,
                               reinforcement_count: 0)
      expect(found[:content_payload].size).to eq(2_000_000)
    end

    it "is an ArgumentError that names the field where it means nothing" do
      { trace_id: nil, created_at: "once upon a time", strength: "strong" }.each do |field, value|
        expect { store.store(trace(field => value)) }.to raise_error(ArgumentError, /#{field}/)
      end
      expect(store.count).to eq(0)
    end

    it "keeps nobody else's changes from being written, is logged once, and is written when it is mended" do
      bad, good = Array.new(2) { store.get(store.store(trace)) }
      bad[:created_at] = "once upon a time"
      good[:confidence] = 0.75
      one_line = /\A[^\n]*#{bad[:trace_id]} is not written: created_at[^\n]*\n\z/
      expect { 2.times { store.flush } }.to output(one_line).to_stderr
      expect(store.native.get(good[:trace_id]).confidence).to eq(0.75)
      bad.merge!(created_at: Time.at(7), confidence: 0.25)
      expect(reopened.get(bad[:trace_id])).to include(created_at: Time.at(7), confidence: 0.25)
    end

    it "leaves the trace that it was to replace as it is, and what waits for it" do
      store.store(trace(trace_id: "a", associated_traces: ["b"]))
      expect { store.store(trace(trace_id: "b", created_at: "never")) }.to raise_error(ArgumentError)
      expect(store.associations["b"]).to eq("a" => 3)
      live = store.get(store.store(trace))
      expect { store.store(live.dup.merge(created_at: "never")) }.to raise_error(ArgumentError)
      live[:confidence] = 0.75
      expect([store.get(live[:trace_id]).equal?(live), reopened.get(live[:trace_id])[:confidence]]).to eq([true, 0.75])
    end
  end

  describe "links" do
    it "keep what is counted for traces that are not stored, also over a restart" do
      a, b = %w[first second]
      store.store(trace(trace_id: a, associated_traces: ["third"]))
      2.times { store.record_coactivation(a, b) }
      found = reopened
      expect(found.associations.to_h).to include(a => { b => 2, "third" => 3 }, b => { a => 2 })
      expect(found.get(a)[:associated_traces]).to eq(["third"])
      found.record_coactivation(a, b)
      [b, "third"].each { |id| found.store(trace(trace_id: id)) }
      found = reopened
      expect(found.associations.to_h).to eq(a => { b => 3, "third" => 3 }, b => { a => 3 }, "third" => { a => 3 })
      expect(found.native.map { |stored| stored.payload.to_s }.grep(/waiting/)).to eq([])
      expect(found.retrieve_associated(a).map { |near| near[:trace_id] }).to match_array([b, "third"])
    end

    it "stay when the trace that was waited for is changed in place" do
      store.store(trace(trace_id: "a", associated_traces: ["b"]))
      store.store(trace(trace_id: "b"))
      store.get("b")[:confidence] = 0.75
      store.flush
      expect(reopened.get("b")).to include(associated_traces: ["a"], confidence: 0.75)
    end

    it "end with a trace, also those that wait" do
      store.store(trace(trace_id: "a", associated_traces: ["b"]))
      store.delete("b")
      expect([store.associations.to_h, reopened.associations.to_h]).to eq([{}, {}])
      new_store.record_coactivation("a", "b")
      new_store.delete("a")
      expect(reopened.associations.to_h).to eq({})
    end

    it "are in lists of at most 20" do
      id = store.store(trace)
      others = Array.new(25) { store.store(trace) }
      others.each { |other| 3.times { store.record_coactivation(id, other) } }
      expect([store.get(id)[:associated_traces].size, store.associations[id].size]).to eq([20, 25])
      expect(reopened.get(id)[:associated_traces].size).to eq(20)
    end
  end

  describe "flush, restore and the lock" do
    it "shares cuts among threads that flush at once" do
      store.flush
      store.store(trace)
      before = store.native.stats[:cuts]
      threads = []
      locked do
        threads = Array.new(8) { Thread.new { store.flush } }
        Thread.pass until threads.all? { |thread| thread.status == "sleep" }
      end
      threads.each(&:join)
      expect(store.native.stats[:cuts] - before).to be <= 3
    end

    it "restores its own partition, and leaves those of others" do
      kept = new_store("b").store(trace)
      gone = store.store(trace)
      store.restore_traces([trace(trace_id: "new", trace_type: "trust", last_reinforced: Time.at(0).to_s)])
      found = reopened
      expect([found.get(kept), found.get("new")].map { |live| live[:partition_id] }).to eq(%w[b a])
      expect(found.get(gone)).to be_nil
      expect(found.get("new")).to include(trace_type: :trust, last_reinforced: Time.at(0))
    end

    it "keeps other writers out of #synchronize" do
      order = Queue.new
      writer = nil
      store.synchronize do
        writer = Thread.new { order << store.store(trace(trace_id: "late")) }
        Thread.pass until writer.status == "sleep"
        order << "block"
      end
      writer.join
      expect([order.pop, order.pop]).to eq(%w[block late])
      expect(store.instance_variable_get(:@mutex)).not_to be_locked
    end

    it "writes at the end what the host stores in its own hooks, and what was changed in place" do
      program = <<~RUBY
        require "mnemon/legion_store"
        Mnemon::LegionStore.path = ARGV[0]
        store = Mnemon::LegionStore.new
        at_exit { store.store(trace_id: "drained", trace_type: :episodic, content_payload: "late") }
        store.store(trace_id: "early", trace_type: :episodic, content_payload: { list: [] })
        store.flush
        store.get("early")[:content_payload][:list] << 1
      RUBY
      lib = File.expand_path("../lib", __dir__)
      expect(system(RbConfig.ruby, "-I", lib, "-e", program, path)).to be(true)
      expect(%w[early drained].map { |id| store.get(id)[:content_payload] }).to eq([{ list: [1] }, "late"])
    end

    it "loses nothing of 8 threads under GC.stress" do
      program = <<~'RUBY'
        require "mnemon/legion_store"
        Mnemon::LegionStore.path = ARGV[0]
        store = Mnemon::LegionStore.new
        GC.stress = true
        threads = Array.new(8) do |n|
          Thread.new do
            store.store({ trace_id: "t#{n}", trace_type: :semantic, content_payload: { list: [n] }, domain_tags: ["d"] })
            store.get("t#{n}")[:content_payload][:list] << "more"
            store.retrieve_by_domain("d", limit: 2)
            store.flush
          end
        end
        threads.each(&:join)
      RUBY
      lib = File.expand_path("../lib", __dir__)
      expect(system(RbConfig.ruby, "-I", lib, "-e", program, path)).to be(true)
      expect(store.all_traces.map { |live| [live[:trace_id], live[:content_payload][:list]] })
        .to match_array(Array.new(8) { |n| ["t#{n}", [n, "more"]] })
    end

    it "leaves the file to the parent in a child process" do
      id = store.store(trace)
      kinds = in_child do
        [-> { store.flush }, -> { new_store }].map do |work|
          work.call && :done
        rescue Mnemon::Error => e
          e.kind
        end.push(Mnemon::LegionStore.close)
      end
      expect(kinds.first(2)).to eq(%i[forked forked])
      expect(reopened.get(id)).to include(trace_id: id)
    end
  end
end
