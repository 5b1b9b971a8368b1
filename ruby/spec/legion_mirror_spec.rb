# frozen_string_literal: true

require "legion_helper"
require "logger"
begin
  require "sequel"
rescue LoadError
  warn "sequel is not there: the specs of the gem's tables are skipped"
end

# A host without a path: the gem's own tables, through Sequel, are read at the start and kept up to date.
RSpec.describe "The mirror in the gem's tables", :legion, if: defined?(Sequel) do
  # Makes the tables as the gem's migrations do, and shows them as the gem's local database.
  let(:database) do
    Sequel.sqlite(path("legion.db")).tap do |database|
      database.create_table(:memory_traces) do
        primary_key :id
        String :trace_id, null: false, unique: true
        String :trace_type, null: false
        String :content, text: true, null: false
        %i[strength peak_strength base_decay_rate emotional_intensity confidence].each { |name| Float name }
        String :emotional_valence, text: true
        %i[domain_tags associated_traces child_ids].each { |name| String name, text: true }
        %i[origin storage_tier partition_id parent_id].each { |name| String name }
        %i[created_at last_reinforced last_decayed].each { |name| DateTime name }
        Integer :reinforcement_count
        %i[unresolved consolidation_candidate].each { |name| TrueClass name, default: false }
      end
      database.create_table(:memory_associations) do
        primary_key :id
        String :trace_id_a, null: false
        String :trace_id_b, null: false
        Integer :coactivation_count, null: false
        String :partition_id
        unique %i[trace_id_a trace_id_b]
      end
    end
  end
  let(:store) { new_store }
  let(:rows) { database[:memory_traces] }
  let(:links) { database[:memory_associations] }

  before do
    Mnemon::LegionStore.path = nil
    connection = database
    stub_const("Legion::Data::Local", Module.new do
      define_singleton_method(:connected?) { true }
      define_singleton_method(:connection) { connection }
    end)
  end

  # Runs the block, and returns the statements that changed a table.
  def written
    statements = StringIO.new
    database.logger = Logger.new(statements)
    yield
    statements.string.scan(/(INSERT|UPDATE|DELETE) (?:OR REPLACE INTO |INTO |FROM )?`(\w+)`/)
  ensure
    database.logger = nil
  end

  it "gives back every field after a restart" do
    at = Time.utc(2026, 3, 4, 5, 6, 7)
    full = trace(content_payload: { text: "café 日本", list: [1, nil] }, emotional_valence: -0.5, domain_tags: %w[b a],
                 emotional_intensity: 0.25, origin: :imprint, created_at: at, last_reinforced: at, last_decayed: at,
                 reinforcement_count: 3, confidence: 0.75, storage_tier: :warm, parent_trace_id: "parent",
                 child_trace_ids: ["child"], unresolved: true, consolidation_candidate: true, trace_id: "no uuid")
    store.store(full)
    texts = ["plain", "[not json", ""].map { |text| store.store(trace(content_payload: text)) }
    3.times { store.record_coactivation("no uuid", texts.first) }
    store.flush
    again = new_store
    expect(again.get("no uuid")).to include(full.merge(partition_id: "a", associated_traces: [texts.first]))
    expect(texts.map { |id| again.get(id)[:content_payload] }).to eq(["plain", "[not json", ""])
    expect(again.associations.to_h).to eq(store.associations.to_h)
  end

  it "writes the rows of what has changed, and nothing else" do
    ids = Array.new(10) { store.store(trace) }
    store.flush
    expect(written { store.flush }).to eq([])
    store.get(ids[3])[:confidence] = 0.875
    store.delete(ids[4])
    expect(written { store.flush }).to contain_exactly(
      %w[INSERT memory_traces], %w[DELETE memory_traces], *([%w[DELETE memory_associations]] * 2)
    )
    expect(rows.where(trace_id: ids[3]).get(:confidence)).to eq(0.875)
    expect(rows.select_map(:trace_id)).to match_array(ids - [ids[4]])
  end

  it "writes links from both sides, with the lists of both traces, and takes them away again" do
    a, b = Array.new(2) { store.store(trace) }
    3.times { store.record_coactivation(a, b) }
    store.record_coactivation(a, "not stored")
    store.flush
    expect(links.select_map(%i[trace_id_a trace_id_b coactivation_count partition_id]))
      .to contain_exactly([a, b, 3, "a"], [b, a, 3, "a"], [a, "not stored", 1, "a"], ["not stored", a, 1, "a"])
    expect(rows.where(trace_id: b).get(:associated_traces)).to eq(JSON.generate([a]))
    expect(new_store.associations[a]).to eq(b => 3, "not stored" => 1)
    store.delete(b)
    store.flush
    expect(links.select_map(:trace_id_b)).to contain_exactly(a, "not stored")
    expect(rows.where(trace_id: a).get(:associated_traces)).to eq("[]")
  end

  it "writes what a native cycle has changed and removed" do
    at = Time.now.utc - (200 * 86_400)
    old = { created_at: at, last_reinforced: at, last_decayed: at }
    kept = store.store(trace(**old))
    store.store(trace(strength: 0.011, peak_strength: 0.011, base_decay_rate: 0.1, **old))
    store.flush
    store.decay_natively
    store.migrate_natively
    store.flush
    expect(rows.select_map(:trace_id)).to eq([kept])
    expect(rows.get(:strength)).to be < 0.48
    expect(rows.get(:storage_tier)).to eq("cold")
  end

  it "sees its own partition, and leaves the rows of others" do
    other = new_store("b")
    mine, theirs = store.store(trace), other.store(trace)
    [store, other].each(&:flush)
    found = %w[a b].map { |partition| new_store(partition).all_traces.map { |live| live[:trace_id] } }
    expect(found).to eq([[mine], [theirs]])
    store.restore_traces([])
    expect(rows.select_map(:trace_id)).to eq([theirs])
  end

  it "keeps what the database refuses for the next flush" do
    id = store.store(trace)
    database.run("CREATE TRIGGER refuse BEFORE INSERT ON memory_traces BEGIN SELECT RAISE(ABORT, 'no room'); END")
    expect { expect { store.flush }.to raise_error(Sequel::Error, /no room/) }.to output(/flush: .*no room/).to_stderr
    database.run("DROP TRIGGER refuse")
    store.flush
    expect(rows.select_map(:trace_id)).to eq([id])
  end

  it "writes all that differs if too much has changed to be told row by row" do
    a, b = Array.new(2) { store.store(trace) }
    3.times { store.record_coactivation(a, b) }
    store.flush
    store.delete(a)
    feed = store.instance_variable_get(:@mirror).instance_variable_get(:@feed)
    allow(feed).to receive(:take).and_return(:gap, nil)
    store.flush
    expect(rows.select_map(:trace_id)).to eq([b])
    expect(links.count).to eq(0)
  end

  it "lets another thread run after each row" do
    ids = Array.new(200) { store.store(trace) }
    store.flush
    ids.each { |id| store.get(id)[:confidence] = 0.25 }
    allow(Thread).to receive(:pass).and_call_original
    store.flush
    expect(Thread).to have_received(:pass).at_least(200).times
  end

  it "is written when the process ends" do
    id = store.store(trace)
    Mnemon::LegionStore.close
    expect(rows.select_map(:trace_id)).to eq([id])
  end

  it "is not there if the gem has no database or no tables" do
    database.drop_table(:memory_associations)
    expect(store.flush).to eq(0)
    expect(store.instance_variable_get(:@mirror)).to be_nil
  end
end
