# frozen_string_literal: true

# Prints the longest pause of another Ruby thread while the drop-in works: the median of ten rounds, at 100,000 traces of
# 300 bytes. Run it with `rake bench`; the first argument is another number of traces, the second one of rounds.
require "mnemon"
module Legion
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
require "securerandom"
require "tmpdir"

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
    while running
      at = now
      longest = [longest, at - last].max
      last = at
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

def row(name)
  GC.start
  measured = Array.new(ROUNDS) do |round|
    work = yield(round)
    pause(&work).tap { GC.start }
  end
  longest, took = measured.transpose.map { |all| median(all) * 1e3 }
  puts format("| %-44s | %8.1f ms | %8.1f ms |", name, longest, took)
  $stdout.flush
end

Dir.mktmpdir do |folder|
  path = File.join(folder, "bench.db")
  Mnemon::LegionStore.path = path
  at = Time.now.utc - 7_200
  payload = { text: "x" * 280 }
  Mnemon::Store.open(path) do |store|
    COUNT.times do |n|
      store.insert(payload: payload, type: n.even? ? :semantic : :episodic, created_at: at + (n / 1e3), tags: ["t#{n % 50}"])
    end
  end

  puts "| work, #{COUNT} traces | longest pause of another thread | time |", "|---|---|---|"
  row("nothing (the measurement itself)") { -> { sleep(0.05) } }
  row("boot") { -> { Mnemon::Store.open(path, &:size) } }

  store = Mnemon::LegionStore.new(partition_id: "default")
  ids = store.native.first(COUNT).map(&:id)
  runner = Object.new.extend(Legion::Extensions::Agentic::Memory::Trace::Runners::Consolidation,
                             Legion::Extensions::Agentic::Memory::Trace::Runners::Traces)
  chosen = ->(round) { ids[(round * 500) % (COUNT - 500), 500] }

  row("flush of 500 changed in place and stored") do |round|
    live = chosen[round].map { |id| store.get(id) }
    live.each { |trace| trace[:confidence] = rand }
    live.each { |trace| store.store(trace) }
    -> { store.flush }
  end
  row("flush of 500 changed in place only") do |round|
    live = chosen[round + 20].map { |id| store.get(id) }
    live.each { |trace| trace[:confidence] = rand }
    -> { store.flush && live }
  end
  row("decay_cycle") { -> { runner.decay_cycle(store: store) } }
  row("migrate_tier") { -> { runner.migrate_tier(store: store) } }
  row("retrieve_and_reinforce (10)") { -> { runner.retrieve_and_reinforce(store: store) } }
  row("retrieve_by_type (100)") { -> { store.retrieve_by_type(:semantic) } }
  row("all_traces") { -> { store.all_traces } }
end
