# frozen_string_literal: true

module Mnemon
  # One memory, as it was when it was read: it does not change, whatever is written later. Each field has a method of
  # its name. Reading a field makes a new Ruby object, so what you do with a list or a Hash changes nothing stored.
  # Two traces are equal if all their fields are.
  class Trace
    # The names of all fields, as Symbols.
    FIELDS = %i[
      id type partition tags payload strength peak_strength base_decay_rate confidence emotional_valence
      emotional_intensity tier origin source_agent created_at last_reinforced last_decayed reinforcement_count parent
      children unresolved consolidation_candidate pinned encryption_key_id embedding revision valid_until superseded_by
    ].freeze

    # Returns all fields as a Hash that Store#put takes.
    def to_h = FIELDS.to_h { |field| [field, public_send(field)] }

    alias unresolved? unresolved
    alias consolidation_candidate? consolidation_candidate
    alias pinned? pinned

    def inspect = "#<Mnemon::Trace #{id} #{type} #{payload.inspect}>"
  end

  # Traces that a store found; Store turns them into Ruby objects.
  class Found
    include Enumerable

    # Number of traces that become Ruby objects before other threads get their turn.
    SLICE = 256
    private_constant :SLICE

    # Yields each trace once.
    def each(&)
      return to_enum(:each) { size } unless block_given?

      until (slice = shift(SLICE)).empty?
        slice.each(&)
        Thread.pass
      end
    end
  end
  private_constant :Found
end
