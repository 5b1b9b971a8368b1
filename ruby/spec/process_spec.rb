# frozen_string_literal: true

# What concerns the process as a whole: threads, fork, interruption, the garbage collector, size.
RSpec.describe "A store in its process" do
  LIB = File.expand_path("../lib", __dir__)

  # Runs a program in a process of its own, whose collector has little to look at.
  def run(code) = system(RbConfig.ruby, "-I", LIB, "-r", "mnemon", "-e", code, path)

  it "serves 8 threads under GC.stress" do
    expect(run(<<~'RUBY')).to be(true)
      store = Mnemon::Store.open(ARGV[0])
      GC.stress = true
      threads = Array.new(8) do |n|
        Thread.new do
          trace = store.put(payload: { n: n, text: "x" * 50 }, tags: ["t#{n}"])
          store.update(trace.id) { |now| { confidence: now.confidence / 2 } }
          store.query(tags: "t#{n}").each(&:to_h)
          store.flush
        end
      end
      threads.each(&:join)
      GC.stress = false
      found = store.map { |trace| [trace.payload[:n], trace.payload[:text].size, trace.tags, trace.confidence] }
      exit!(found.sort == (0..7).map { |n| [n, 50, ["t#{n}"], 0.25] } ? 0 : 1)
    RUBY
  end

  it "survives compaction" do
    store = Mnemon::Store.open
    traces = Array.new(1_000) { |n| store.put(payload: { n: n }) }
    GC.compact
    expect(traces.map { |trace| trace.payload[:n] }).to eq((0...1_000).to_a)
    GC.verify_compaction_references(toward: :empty, double_heap: true)
    expect(store.map { |trace| trace.payload[:n] }).to eq((0...1_000).to_a)
  end

  it "refuses to write the file in a child process, and goes on in the parent" do
    store = Mnemon::Store.open(path, flush_interval: 3600)
    id = store.put(payload: 1).id
    kinds = in_child do
      [-> { store.put(payload: 2) }, -> { store.flush }, -> { store.close }].map do |work|
        work.call && :done
      rescue Mnemon::Error => e
        e.kind
      end
    end
    expect(kinds).to eq(%i[done forked forked]) # memory is the child's own, and goes with it
    store.close
    Mnemon::Store.open(path) { |again| expect(again.map(&:id)).to eq([id]) }
  end

  it "ends a wait on Ctrl-C" do
    program = <<~'RUBY'
      store = Mnemon::Store.open(ARGV[0], flush_interval: 3600)
      store.put(payload: 1)
      $stdout.sync = true
      puts
      $stdin.gets
      main = Thread.main
      Thread.new { (Thread.pass until main.status == "sleep") || puts("waits") }
      begin
        store.flush
      rescue Interrupt
        puts "interrupted"
      end
      exit!
    RUBY
    IO.popen([RbConfig.ruby, "-I", LIB, "-r", "mnemon", "-e", program, path], "r+") do |child|
      child.gets
      locked do
        child.puts
        expect(child.gets).to eq("waits\n")
        Process.kill("INT", child.pid)
        expect(child.read).to eq("interrupted\n")
      end
    end
  end

  it "lets other threads run while it waits, and Thread#kill, Timeout and a signal end the wait" do
    store = Mnemon::Store.open(path, flush_interval: 3600)
    store.put(payload: 1)
    locked do
      waiting = Thread.new { store.flush }
      Thread.pass until waiting.status == "sleep" || !waiting.alive?
      waiting.kill
      expect(waiting.join(10)).to eq(waiting)
      expect { Timeout.timeout(0.02) { store.flush } }.to raise_error(Timeout::Error)
      main = Thread.current
      earlier = trap("USR1") { raise IOError, "the signal" }
      Thread.new { (Thread.pass until main.status == "sleep") || Process.kill("USR1", Process.pid) }
      expect { store.flush }.to raise_error(IOError, "the signal")
      trap("USR1", earlier)
    end
    store.close
    Mnemon::Store.open(path) { |again| expect(again.size).to eq(1) }
  end

  it "holds 200,000 traces, and finds them again" do
    Mnemon::Store.open(path, flush_interval: 3600) do |store|
      200_000.times { |n| store.insert(payload: n, type: n.even? ? :semantic : :episodic) }
      expect(store.count(type: :semantic)).to eq(100_000)
      store.flush
    end
    Mnemon::Store.open(path) do |store|
      expect(store.size).to eq(200_000)
      expect(store.each.sum(&:payload)).to eq(200_000 * 199_999 / 2)
    end
  end

  it "tells the collector what it holds, while it is open and until it is gone" do
    require "objspace"
    told = lambda do |&work|
      before = GC.stat(:malloc_increase_bytes)
      work.call
      GC.stat(:malloc_increase_bytes) - before
    end
    text = "x" * 10_000
    GC.start
    GC.disable
    store = Mnemon::Store.open(path)
    empty = ObjectSpace.memsize_of(store)
    expect(told.call { 300.times { store.insert(payload: text) } }).to be > 2_500_000 # after 256 of them
    expect(told.call { store.flush }).to be > 400_000 # the rest
    expect(ObjectSpace.memsize_of(store)).to be_within(200_000).of(empty + 3_150_000)
    expect(store.payload_bytes).to eq(300 * 10_002)
    store.close
    expect(told.call { store = Mnemon::Store.open(path) }).to be > 3_000_000
    expect(told.call { store.erase_type(:semantic) }).to be < 100_000
    expect(ObjectSpace.memsize_of(store)).to be < 1_000
    store.close # or the exit does, of a file that is gone, unless the collector has been first
  ensure
    GC.enable
  end

  it "raises an error that can be rescued if a method that holds the lock panics" do
    expect(run(<<~'RUBY')).to be(true)
      store = Mnemon::Store.open(ARGV[0])
      kind = begin
        $stderr.reopen(File::NULL)
        store.panic_for_specs
      rescue Mnemon::Error => e
        [e.kind, e.message]
      end
      exit!(kind == [:panicked, "mnemon panicked: planted"] && store.put(payload: 1) && store.flush == 1 ? 0 : 1)
    RUBY
  end

  it "writes what a store that was collected still held" do
    expect(run(<<~'RUBY')).to be(true)
      10.times { |n| Mnemon::Store.open("#{ARGV[0]}#{n}", flush_interval: 3600).put(payload: 1) }
      GC.start
    RUBY
    10.times { |n| Mnemon::Store.open("#{path}#{n}") { |store| expect(store.size).to eq(1) } }
  end

  it "writes what a store that nobody closed still holds" do
    expect(run("Mnemon::Store.open(ARGV[0], flush_interval: 3600).put(payload: 1)")).to be(true)
    Mnemon::Store.open(path) { |store| expect(store.size).to eq(1) }
  end
end
