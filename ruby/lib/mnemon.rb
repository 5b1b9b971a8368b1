# frozen_string_literal: true

require "mnemon/error"
require "mnemon/mnemon_native"
require "mnemon/store"
require "mnemon/trace"

# Hooks run in reverse order, so whatever the host writes in its own is written too.
at_exit { Mnemon.close_all }
