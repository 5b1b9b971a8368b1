# frozen_string_literal: true

module Mnemon
  # Everything that a store refuses or can't do, except input that is no good, which is an +ArgumentError+ that names
  # the field.
  class Error < StandardError
    # Returns the kind as a Symbol: +:not_found+, +:already_exists+, +:revision_conflict+, +:closed+, +:lagging+,
    # +:in_use+, +:not_a_store+, +:newer_schema+, +:corrupt+, +:disk_full+, +:busy+, +:unreachable+, +:io+,
    # +:out_of_memory+, +:timed_out+, +:would_deadlock+, +:forked+, +:panicked+ or +:backend+.
    attr_reader :kind

    def initialize(message = nil, kind = :backend)
      super(message)
      @kind = kind
    end
  end
end
