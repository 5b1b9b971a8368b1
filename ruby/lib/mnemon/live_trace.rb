# frozen_string_literal: true

module Mnemon
  # A trace that LegionStore has handed out: a Hash that tells its store when it is changed. What it contains is
  # compared with what was written last, so that changes inside lists and payloads are found too.
  class LiveTrace < Hash
    # Ties a caller's list to the trace that shows it, so that the trace lives as long. Marshal leaves it out.
    class Tie
      def initialize(trace) = @trace = trace
      def marshal_dump = nil
      def marshal_load(_nothing) = nil
      def inspect = "#<Mnemon::LiveTrace::Tie>"
    end

    LISTS = %i[domain_tags associated_traces child_trace_ids content_payload content].freeze
    private_constant :Tie, :LISTS

    def self.of(hash, keeper)
      new.tap do |live|
        live.send(:initialize_copy, hash)
        live.instance_variable_set(:@keeper, keeper)
      end
    end

    # The store that writes it; nil once it is deleted or replaced.
    attr_reader :keeper

    %i[[]= store delete merge! update replace compact! clear delete_if reject! select! keep_if filter! transform_values!
       shift].each do |name|
      define_method(name) do |*args, &block|
        super(*args, &block).tap { @keeper&.touched(self) }
      end
    end

    # Whether it differs from what was written last.
    def changed? = !@keeper.nil? && @written != hash

    def written = @written = hash

    # Remembers that its content is refused; returns whether that is news.
    def refuse = @refused != (@refused = hash)

    def abandon = @keeper = nil

    # Ties the lists of the Hash that it was made of.
    def tie
      LISTS.each do |field|
        list = self[field]
        next if list.nil? || list.frozen? || !(list.is_a?(Array) || list.is_a?(Hash) || list.is_a?(String))

        list.instance_variable_set(:@mnemon_tie, Tie.new(self))
      end
    end

    # Takes over numbers that the store has changed, unless it was changed itself.
    def refresh(numbers)
      return if changed?

      numbers.each { |field, value| Hash.instance_method(:[]=).bind_call(self, field, value) }
      written
    end

    # Returns a Hash of its own with the same values.
    def to_plain = {}.merge(self)

    alias dup to_plain
    alias clone to_plain

    def marshal_dump = to_plain
    def marshal_load(hash) = send(:initialize_copy, hash)
  end
end
