# frozen_string_literal: true

require_relative "lib/mnemon/version"

Gem::Specification.new do |spec|
  spec.name = "mnemon"
  spec.version = Mnemon::VERSION
  spec.authors = ["The mnemon authors"]
  spec.summary = "A memory store for agents that never stops the other threads"
  spec.description = "Memory traces live in your process, every thread reads and writes at memory speed, and one " \
                     "native thread persists exactly what changed, as consistent cuts, into SQLite."
  spec.homepage = "https://github.com/mnemon-rs/mnemon"
  spec.licenses = ["MIT", "Apache-2.0"]
  spec.required_ruby_version = ">= 3.1"
  spec.files = Dir["lib/**/*.rb", "ext/**/*.{rs,rb,toml,lock,md}", "README.md", "LICENSE-*"]
  spec.files += Dir["ext/mnemon/crate/src/**/*"].select { |file| File.file?(file) }
  spec.files.uniq!
  spec.extensions = ["ext/mnemon/extconf.rb"]
  spec.metadata = { "rubygems_mfa_required" => "true" }
end
