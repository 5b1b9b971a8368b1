# frozen_string_literal: true

require "mnemon"
require "mnemon/live_trace"

module Mnemon
  # The traces that a native store has handed out in the shape of the original gem. All LegionStores of one file share
  # one of these, so that each sees what the others have changed in place.
  class Living
    # Number of traces between which other threads get their turn.
    SLICE = 32
    # Number of traces between which the collected ones of a long list are forgotten.
    MANY = 4_096
    # The number of co-activations that associates, and the most associated traces in a list.
    ASSOCIATED = 3
    MOST_ASSOCIATED = 20
    private_constant :SLICE, :MANY, :ASSOCIATED, :MOST_ASSOCIATED

    # The Mnemon::Store underneath, and the lock that writers hold.
    attr_reader :native, :mutex

    # The counts of co-activations with traces that are not stored yet, by id and id, for both directions.
    attr_reader :waiting

    def initialize(native)
      @native = native
      @mutex = Mutex.new
      # Living traces are known by numbers, each given once: Ruby's weak map forgets a key when an earlier value of it
      # is collected, though it has another one by then. The pending ones are not held weakly.
      @live = ObjectSpace::WeakMap.new
      @numbers = {}
      @pending = {}.compare_by_identity
      @waiting = {}
      @last_number = @round = 0
      native.legion_waiting.each { |id, counts| await(id, counts) }
    end

    # Stores a Hash under the lock of the caller; returns its +:trace_id+. Changes nothing if it is refused.
    def keep(hash, given)
      id = hash[:trace_id].to_s
      earlier = living(id)
      live = earlier.equal?(given) ? earlier : adopt(id, hash)
      write(live)
      unless live.equal?(earlier)
        @pending.delete(earlier)
        earlier&.abandon
      end
      touched(live) # until the next flush its lists may be changed by whoever stored it
      live.tie
      hash[:trace_id]
    rescue ArgumentError
      unless live.equal?(earlier)
        live.abandon
        @numbers.delete(id)
        number(id, earlier) if earlier
      end
      raise
    end

    # Returns the living trace, or nil.
    def fetch(id) = id && @mutex.synchronize { find(id.to_s)&.tap { |live| touched(live) } }

    def delete(id) = @mutex.synchronize { remove(id.to_s) }

    # Deletes the traces of a partition but those, under the lock of the caller.
    def delete_all_but(ids, partition)
      @native.query(partition: partition, include_invalid: true).each do |trace|
        remove(trace.legion_id) unless ids.include?(trace.legion_id)
      end
    end

    # Stores a Hash that nobody holds, under the lock of the caller.
    def put(hash)
      id = hash[:trace_id].to_s
      before = @waiting[id] || {}
      waits = @native.legion_put(hash, before)
      @waiting.delete(id)
      before.each do |other, count|
        next if waits.key?(other)

        stop_waiting(other, id)
        associate_both(id, other) if count >= ASSOCIATED
      end
      await(id, waits)
    end

    # Stores the count of a pair, also of one that is not stored yet.
    def link(one, other, count)
      await(one, { other => count }) unless @native.legion_link(one, other, count)
    end

    # Counts a co-activation; of traces that are not stored, for later.
    def co_activate(one, other)
      @mutex.synchronize do
        if (count = @native.legion_co_activate(one.to_s, other.to_s))
          associate_both(one, other) if count >= ASSOCIATED
        else
          await(one.to_s, { other.to_s => (@waiting.dig(one.to_s, other.to_s) || 0) + 1 })
          [one, other].each { |id| @native.legion_put_waiting(id.to_s, @waiting[id.to_s]) }
        end
      end
    end

    # Returns the living traces of what a query found.
    def of(found)
      all = []
      slices(found) { |slice| all.concat(@mutex.synchronize { slice.each { |trace| touched(trace) } }) }
      all
    end

    # Yields the living traces of what a query found, and keeps those that the block changes.
    def each_of(found)
      slices(found) do |slice, from|
        slice.each do |live|
          yield live
          touched(live) if live.changed?
        end
        @mutex.synchronize { forget_collected } if (from % MANY).zero?
      end
    end

    # Hands all traces that were changed in place to the native store.
    def settle
      handed_out = @mutex.synchronize do
        @round += 1
        everyone
      end
      handed_out.each_slice(SLICE) do |slice|
        @mutex.synchronize do
          slice.each do |trace|
            try_to_write(trace) if trace.changed?
            @pending.delete(trace) if @pending.fetch(trace, @round) < @round - 1 && !trace.changed?
          end
        end
        Thread.pass
      end
      @mutex.synchronize { forget_collected if @numbers.size > (2 * @live.size) + 1_000 }
    end

    # Called when a trace is changed in place or handed out: it is kept until it has been looked at twice, since
    # another thread may look between the moment it is handed out and the change of one of its lists.
    def touched(trace) = @pending[trace] = @round

    # Living traces show what a native change has made of their numbers, as of a time in seconds; those that it has
    # removed belong to the store no more.
    def refresh(decayed_at = nil)
      @decayed_at = decayed_at || @decayed_at
      @mutex.synchronize { everyone }.each_slice(SLICE) do |slice|
        @mutex.synchronize do
          slice.each do |live|
            next unless live.keeper

            id = live[:trace_id].to_s
            trace = @native.legion_find(id) or next forget(id)
            live.refresh(hash_of(trace).slice(:strength, :last_decayed, :storage_tier))
          end
        end
        Thread.pass
      end
    end

    # Returns a Hash of the gem's shape.
    def hash_of(trace) = @native.legion_hash(trace, @decayed_at)

    private

    def living(id) = (number = @numbers[id]) && @live[number]

    def forget_collected = @numbers.delete_if { |_, number| !@live.key?(number) }

    # Yields living traces, and their place, a slice at a time, so that other threads get their turn.
    def slices(found)
      0.step(by: SLICE) do |from|
        slice = found.slice(from, SLICE)
        break if slice.nil? || slice.empty?

        yield @mutex.synchronize { slice.map { |trace| read(trace) } }, from
        Thread.pass
      end
    end

    def everyone = @live.values.each_with_object(@pending.dup) { |live, all| all[live] = true }.keys

    def write(live)
      put(live)
      live.written
    end

    # What no field can hold keeps nobody else's changes from being written.
    def try_to_write(live)
      write(live)
    rescue ArgumentError => e
      LegionStore.log("#{live[:trace_id]} is not written: #{e.message}") if live.refuse
    end

    def remove(id)
      @native.legion_links(id).each_key { |other| living(other)&.[](:associated_traces)&.delete(id) }
      forget(id)
      (@waiting.delete(id) || {}).each_key { |other| stop_waiting(other, id) }
      @native.legion_delete(id)
    end

    def await(id, counts)
      counts.each do |other, count|
        (@waiting[id] ||= {})[other] = count
        (@waiting[other] ||= {})[id] = count
      end
    end

    # Forgets what one trace counts for another, also in the file.
    def stop_waiting(id, other)
      counts = @waiting[id]
      return unless counts&.delete(other)

      @waiting.delete(id) if counts.empty?
      @native.legion_put_waiting(id, counts)
    end

    def find(id) = living(id) || ((trace = @native.legion_find(id)) && adopt(id, hash_of(trace), &:written))

    # Another thread may have changed or deleted a trace after it was found.
    def read(trace) = find(trace.legion_id) || LiveTrace.of(hash_of(trace), nil)

    def adopt(id, hash)
      live = LiveTrace.of(hash, self)
      yield live if block_given?
      number(id, live)
    end

    def number(id, live) = @live[@numbers[id] = @last_number += 1] = live

    def forget(id)
      live = living(id) or return
      live.abandon
      @numbers.delete(id)
      @pending.delete(live)
    end

    def associate_both(one, other) = [[one, other], [other, one]].each { |id, near| associate(id, near) }

    def associate(id, other)
      list = living(id.to_s)&.[](:associated_traces)
      return if list.nil? || list.frozen? || list.include?(other) || list.size >= MOST_ASSOCIATED

      list << other
    end
  end
  private_constant :Living
end
