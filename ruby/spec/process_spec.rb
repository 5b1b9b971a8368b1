# frozen_string_literal: true

# What concerns the process as a whole: threads, fork, interruption, the garbage collector, size.
RSpec.describe "A store in its process" do
  # An unfinished import of a pipe: opening it waits for a writer that never comes, without the lock.
  def pipe_without_writer = path("pipe").tap { |pipe| File.mkfifo(pipe) }

  it "serves 8 threads under GC.stress" do
    store = Mnemon::Store.open(path)
    threads = Array.new(8) do |n|
      Thread.new do
        5.times do |m|
          trace = store.put(payload: { n: n, m: m, text: "x" * 50 }, tags: ["t#{n}"])
          store.update(trace.id) { |now| { confidence: now.confidence / 2 } }
          store.flush if m == 4
          store.query(tags: "t#{n}").each(&:to_h)
        end
      end
    end
    begin
      GC.stress = true
      threads.each(&:join)
    ensure
      GC.stress = false
    end
    expect(store.size).to eq(40)
    expect(store.map { |trace| [trace.payload[:n], trace.payload[:m], trace.confidence] })
      .to match_array((0..7).to_a.product((0..4).to_a).map { |n, m| [n, m, 0.25] })
    store.close
  end

  it "survives compaction" do
    store = Mnemon::Store.open
    traces = Array.new(1_000) { |n| store.put(payload: { n: n }) }
    GC.compact
    expect(traces.map { |trace| trace.payload[:n] }).to eq((0...1_000).to_a)
    GC.verify_compaction_references(toward: :empty, double_heap: true)
    expect(store.map { |trace| trace.payload[:n] }).to eq((0...1_000).to_a)
  end

  it "refuses the store in a child process, and goes on in the parent" do
    store = Mnemon::Store.open(path, flush_interval: 3600)
    id = store.put(payload: 1).id
    kinds = in_child do
      [-> { store.put(payload: 2) }, -> { store.flush }, -> { store.close }].map do |work|
        work.call && :done
      rescue Mnemon::Error => e
        e.kind
      end
    end
    expect(kinds).to eq(%i[forked forked forked])
    store.close
    Mnemon::Store.open(path) { |again| expect(again.map(&:id)).to eq([id]) }
  end

  it "lets other threads run while it waits, and Thread#kill ends the wait" do
    store = Mnemon::Store.open
    pipe = pipe_without_writer
    waiting = Thread.new { store.import_legion(pipe) }
    Thread.pass until waiting.status == "sleep"
    expect(waiting).to be_alive
    waiting.kill
    expect(waiting.join(10)).to eq(waiting)
    File.open(pipe, "w").close # the import goes on to its end
  end

  it "ends a wait by Timeout and by a signal" do
    store = Mnemon::Store.open
    pipe = pipe_without_writer
    expect { Timeout.timeout(0.05) { store.import_legion(pipe) } }.to raise_error(Timeout::Error)
    main = Thread.current
    Thread.new { (Thread.pass until main.status == "sleep") || Process.kill("INT", Process.pid) }
    expect { store.import_legion(pipe) }.to raise_error(Interrupt)
    2.times { File.open(pipe, "w").close }
  end

  it "holds 200,000 traces, and finds them again" do
    Mnemon::Store.open(path, flush_interval: 3600) do |store|
      200_000.times { |n| store.insert(payload: n, type: n.even? ? :semantic : :episodic) }
      expect(store.count(type: :semantic)).to eq(100_000)
      expect(store.flush).to eq(200_000)
    end
    Mnemon::Store.open(path) do |store|
      expect(store.size).to eq(200_000)
      expect(store.each.sum(&:payload)).to eq(200_000 * 199_999 / 2)
    end
  end

  it "tells Ruby its size" do
    require "objspace"
    store = Mnemon::Store.open
    empty = ObjectSpace.memsize_of(store)
    1_000.times { |n| store.insert(payload: n) }
    expect(ObjectSpace.memsize_of(store)).to be > empty + 100_000
  end

  it "writes what a store that nobody closed still holds" do
    code = 'require "mnemon"; Mnemon::Store.open(ARGV[0], flush_interval: 3600).put(payload: 1)'
    lib = File.expand_path("../lib", __dir__)
    expect(system(RbConfig.ruby, "-I", lib, "-e", code, path)).to be(true)
    Mnemon::Store.open(path) { |store| expect(store.size).to eq(1) }
  end
end
