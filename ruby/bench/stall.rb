# frozen_string_literal: true

# Prints, as a table in Markdown, how long another Ruby thread stands still while the drop-in works: the median of ten
# rounds, at 100,000 traces of 300 bytes, and beside it that of the same work with the interpreter's lock held. Run it
# with `rake bench`; the first argument is another number of traces, the second one of rounds.
require "mnemon"
require "etc"
require "securerandom"
require "tmpdir"

module Legion
  module Data
    module Local
      class << self
        attr_accessor :connection

        def connected? = !connection.nil?
      end
    end
  end

  module Extensions
    module Agentic
      module Memory
        module Trace
          module Runners
            module Consolidation; end
            module Traces; end
          end
        end
      end
    end
  end
end
require "mnemon/legion_runners"

COUNT = Integer(ARGV[0] || 100_000)
ROUNDS = Integer(ARGV[1] || 10)

def now = Process.clock_gettime(Process::CLOCK_MONOTONIC)
def median(numbers) = numbers.sort[numbers.size / 2]

# Returns the longest pause of a thread that only watches the clock, and the time that the block took.
def pause
  longest = 0.0
  running = true
  last = now
  watcher = Thread.new do
    loop do
      at = now
      longest = [longest, at - last].max
      last = at
      break unless running

      sleep(0.0002)
    end
  end
  sleep(0.01)
  longest = 0.0
  began = now
  yield
  took = now - began
  running = false
  watcher.join
  [longest, took]
end

# The block prepares a round and returns the work that is measured.
def row(name)
  measured = [false, true].map do |keep|
    GC.start
    rounds = Array.new(ROUNDS) do |round|
      work = yield(round)
      Mnemon.keep_lock = keep
      pause(&work).tap do
        Mnemon.keep_lock = false
        GC.start
      end
    end
    rounds.transpose.map { |all| median(all) * 1e3 }
  end
  (free, took), (kept, _) = measured
  puts format("| %s | %.1f ms | %.1f ms | %.1f ms |", name, free, kept, took)
  $stdout.flush
end

# Returns the gem's tables, in memory, with Sequel; nil where it is missing.
def tables
  require "sequel"
  Sequel.sqlite.tap do |database|
    database.run("CREATE TABLE memory_traces (id INTEGER PRIMARY KEY, trace_id UNIQUE, trace_type, content, " \
                 "strength, peak_strength, base_decay_rate, emotional_valence, emotional_intensity, domain_tags, " \
                 "origin, created_at, last_reinforced, last_decayed, reinforcement_count, confidence, storage_tier, " \
                 "partition_id, associated_traces, parent_id, child_ids, unresolved, consolidation_candidate)")
    database.run("CREATE TABLE memory_associations (id INTEGER PRIMARY KEY, trace_id_a, trace_id_b, " \
                 "coactivation_count, partition_id, UNIQUE (trace_id_a, trace_id_b))")
  end
rescue LoadError
  nil
end

def change(store, ids)
  ids.map { |id| store.get(id).tap { |trace| trace[:confidence] = rand } }
end

Dir.mktmpdir do |folder|
  path = File.join(folder, "bench.db")
  Mnemon::LegionStore.path = path
  at = Time.now.utc - 7_200
  payload = { text: "x" * 280 }
  Mnemon::Store.open(path) do |store|
    COUNT.times do |n|
      type = n.even? ? :semantic : :episodic
      store.insert(payload: payload, type: type, created_at: at + (n / 1e3), tags: ["t#{n % 50}"])
    end
  end

  puts "#{COUNT} traces of 300 bytes, medians of #{ROUNDS} rounds, Ruby #{RUBY_VERSION}, #{Etc.nprocessors} cores, " \
       "#{Time.now.utc.strftime('%F')}.", ""
  puts "| work | longest pause of another thread | with the lock held | time |", "|---|---:|---:|---:|"
  row("nothing (the measurement itself)") { -> { sleep(0.05) } }
  booted = nil
  row("boot") do
    booted&.close
    made = File.join(folder, "boot#{rand}.db")
    IO.copy_stream(path, made)
    -> { booted = Mnemon::Store.open(made).tap(&:size) }
  end
  booted.close

  store = Mnemon::LegionStore.new(partition_id: "default")
  # Not all: what is held in here is looked at by the collector too.
  ids = store.native.first(COUNT).map(&:id).sample(COUNT / 20)
  runner = Object.new.extend(Legion::Extensions::Agentic::Memory::Trace::Runners::Consolidation,
                             Legion::Extensions::Agentic::Memory::Trace::Runners::Traces)
  chosen = -> { ids.sample(500) }

  row("flush of 500 changed in place and stored") do
    change(store, chosen.call).each { |trace| store.store(trace) }
    -> { store.flush }
  end
  row("flush of 500 stored as copies") do
    chosen.call.each { |id| store.store(store.get(id).dup.merge(confidence: rand)) }
    -> { store.flush }
  end
  row("flush of 500 changed in place only") do
    live = change(store, chosen.call)
    -> { store.flush && live }
  end
  row("decay_cycle") { -> { runner.decay_cycle(store: store) } }
  row("migrate_tier") { -> { runner.migrate_tier(store: store) } }
  row("retrieve_and_reinforce of 10") { -> { runner.retrieve_and_reinforce(store: store) } }
  row("retrieve_ranked of 500") do
    given = chosen.call
    -> { runner.retrieve_ranked(trace_ids: given, store: store) }
  end
  row("retrieve_by_type of 100") { -> { store.retrieve_by_type(:semantic) } }
  row("all_traces, one after the other") { -> { store.all_traces.each { |trace| trace[:strength] } } }
  row("all_traces, kept in an Array") { -> { store.all_traces.to_a } }
  dumped = Marshal.dump(store.all_traces.first.to_plain)
  row("as many Hashes of Ruby alone, kept in an Array") do
    -> { Array.new(COUNT) { |n| Marshal.load(dumped).tap { Thread.pass if (n % 32).zero? } } }
  end

  database = tables or next
  Mnemon::LegionStore.path = nil
  Legion::Data::Local.connection = database
  mirrored = Mnemon::LegionStore.new(partition_id: "default")
  own = Array.new(1_000) { |n| mirrored.store({ trace_id: "t#{n}", trace_type: :semantic, content_payload: payload }) }
  mirrored.flush
  row("flush of 500 into the gem's tables") do
    change(mirrored, own.sample(500))
    -> { mirrored.flush }
  end
ensure
  Mnemon::LegionStore.close
end
