# frozen_string_literal: true

module Mnemon
  VERSION = "0.1.0"
end
