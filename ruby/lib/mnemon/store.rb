# frozen_string_literal: true

module Mnemon
  # A store of memory traces: held in memory for every thread, and written to a file in the background by a thread of
  # its own. Share one among all threads.
  #
  # Reads and writes touch only memory. What may wait (opening, #flush, #close, #decay and the other methods that work
  # on all traces) releases the interpreter's lock, so that other threads run meanwhile, and ends if the thread is
  # interrupted; the work that it has begun still comes to its end. In a child process of +fork+ a store raises
  # Mnemon::Error with the kind +:forked+.
  class Store
    include Enumerable

    class << self
      # Opens the file at +path+, which is made if it is missing, or a store without a file if +path+ is nil. With a
      # block, yields the store, closes it, and returns the value of the block.
      #
      # partition:: partition of traces that name none. Default: +"default"+.
      # flush_interval:: longest time, in seconds, until a change is written. Default: 1.
      # close_timeout:: longest time, in seconds, that #close waits. Default: 30.
      # max_payload_bytes:: longest payload, as JSON. Default: 1 MiB.
      # prune:: whether #decay removes traces that have faded away. Default: true.
      # max_traces:: number of traces beyond which #enforce_quota evicts. Default: no limit.
      # max_bytes:: bytes of payloads, as JSON, beyond which #enforce_quota evicts. Default: no limit.
      # eviction:: who goes first, +:least_recently_reinforced+ or +:lowest_confidence+. Default: the former.
      def open(path = nil, **options)
        store = native_open(path&.to_s, options)
        return store unless block_given?

        begin
          yield store
        ensure
          store.close
        end
      end

      private :native_open
    end

    # Stores a new trace, or replaces the one with its +id+ as a whole; its links stay. Returns the trace as stored.
    # The fields are those of Trace::FIELDS; all but +payload+ have defaults, and +type+ is +:semantic+.
    #
    #   store.put(type: :episodic, payload: { saw: "a heron" }, tags: %w[birds])
    def put(trace = nil, **fields) = native_replace((trace || {}).to_h.merge(fields))

    # Changes fields of a trace, atomically, and returns its new state; nil if the store does not hold it. With a block,
    # yields the trace, and changes the fields that the block returns as a Hash, or nothing if that is nil; the block
    # runs again if another thread is faster, so it must not have side effects.
    #
    #   store.update(id, confidence: 0.9)
    #   store.update(id) { |trace| { confidence: [trace.confidence + 0.1, 1.0].min } }
    def update(id, **fields)
      return native_update(id, nil, fields) unless block_given?

      loop do
        trace = get(id)
        changes = trace && yield(trace)
        return trace if changes.nil?

        begin
          return native_update(id, trace.revision, fields.merge(changes))
        rescue Error => e
          raise unless e.kind == :revision_conflict
        end
      end
    end

    # Returns an Array of the traces that meet every condition, strongest first.
    #
    # type:: a type, or an Array of which one counts.
    # tags:: a tag, or an Array of tags that a trace must have all of; +any_tags:+ one of; +without_tags:+ none of.
    # tier:, partition:, parent:, unresolved:: as the trace has them.
    # since:, until:: bounds of the time of creation.
    # min_strength:: least strength now.
    # include_invalid:: whether traces whose validity has ended are found too. Default: false.
    # order:: +:strength+, +:recency+, +:score+ or +:created+. limit:: most results.
    def query(**conditions) = native_query(conditions).to_a

    # Returns the number of traces that meet the conditions of #query, or for which the block returns true.
    def count(*item, **conditions, &block)
      return super(*item, &block) if block || !item.empty?

      conditions.empty? ? size : native_count(conditions)
    end

    # Yields each trace, by time of creation.
    def each(&block)
      return to_enum(:each) { size } unless block

      native_all.each(&block)
      self
    end

    # Returns the traces associated with a trace, strongest first, which are its neighbours after three
    # co-activations: at most 20.
    def associated(id, min_strength: 0.0, limit: 20) = native_associated(id, min_strength, limit).to_a

    # Returns what is reached over associations, nearest first, as an Array of [trace, depth, path].
    def walk(start, max_hops: 12, min_strength: 0.1) = native_walk(start, max_hops, min_strength)

    # Returns +:healthy+, +:lagging+, +:degraded+ or +:closed+.
    def health = native_health.first

    # Returns one line for people that says what the #health is and why.
    def health_message = native_health.last

    # Returns the trace with this id, or nil.
    def [](id) = get(id)

    ##
    # :method: insert(trace)
    # Stores a new trace, given as a Hash, and returns its id. Raises Error with +:already_exists+ for an id that is
    # stored.

    ##
    # :method: get(id)
    # Returns the trace with this id, or nil. Wherever an id is taken, a trace is taken too.

    ##
    # :method: include?(id)
    # Returns whether the store holds a trace with this id.

    ##
    # :method: delete(id)
    # Removes a trace with its links, and returns it; nil if the store does not hold it.

    ##
    # :method: size
    # Returns the number of traces.

    ##
    # :method: restore(traces)
    # Replaces all traces and links with an Array of Hashes, in one cut, and returns their number.

    ##
    # :method: co_activate(one, other)
    # Counts a co-activation of two traces and returns the count. Raises Error with +:not_found+ if one is not stored.

    ##
    # :method: unlink(one, other)
    # Removes the link of two traces; returns whether there was one.

    ##
    # :method: links(id)
    # Returns the co-activations of a trace as a Hash of counts by the other's id.

    ##
    # :method: strength(trace)
    # Returns the strength that a trace has now, from 0 to 1.

    ##
    # :method: reinforce(id)
    # Strengthens a trace, and returns its new state; nil if the store does not hold it.

    ##
    # :method: rank(ids)
    # Returns the stored ones of the traces as an Array of [trace, score], best first, each once.

    ##
    # :method: decay
    # Removes the traces that have faded away, if the store prunes, and stores how strong the others are. Returns a Hash
    # with the number of +:traces+ and +:links+ removed, as do #enforce_quota, #erase_type and #erase_partition.

    ##
    # :method: update_tiers
    # Sets the tier of each trace, and returns the number of those that changed theirs.

    ##
    # :method: enforce_quota
    # Evicts what is beyond +max_traces+ and +max_bytes+, but no firmware and nothing pinned.

    ##
    # :method: erase_type(type)
    # Removes all traces of a type, with their rows.

    ##
    # :method: erase_partition(partition)
    # Removes all traces of a partition, with their rows.

    ##
    # :method: flush
    # Writes all changes, and returns the number of rows written when they are on disk.

    ##
    # :method: close
    # Writes all changes and closes the file. What is in memory can still be read.

    ##
    # :method: closed?
    # Returns whether the store is closed.

    ##
    # :method: stats
    # Returns a Hash of counters: +:traces+, +:links+, +:dirty+, +:cuts+, +:flushes+, +:flush_seconds+,
    # +:rows_upserted+, +:rows_updated+, +:rows_deleted+, +:last_error+ and +:quarantined+.

    ##
    # :method: payload_bytes
    # Returns the number of bytes of all payloads, as JSON. Looks at every trace.

    ##
    # :method: import_legion(path)
    # Stores what a database of the original gem holds, except traces that are stored already. Returns a Hash with the
    # number of +:traces+ and +:links+ stored, of traces +:known+, and +:findings+, lines about what could not be read.

    ##
    # :method: export_legion(path)
    # Writes all traces and links as a database of the original gem, to a path where no file exists; returns the number
    # of traces.

    def empty? = size.zero?

    alias length size
    alias key? include?
    alias member? include?

    def inspect = "#<Mnemon::Store #{size} traces, #{health_message}>"

    private :native_replace, :native_update, :native_query, :native_count, :native_all, :native_associated,
            :native_walk, :native_health
  end
end
