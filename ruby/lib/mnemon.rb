# frozen_string_literal: true

require "mnemon/error"
require "mnemon/mnemon_native"
require "mnemon/store"
require "mnemon/trace"
