# frozen_string_literal: true

require "fileutils"
require "mnemon"
require "timeout"
require "tmpdir"

# A folder of its own for each example, and what several specs need.
module Helpers
  def folder = @folder ||= Dir.mktmpdir("mnemon-spec")

  def path(name = "memory.db") = File.join(folder, name)

  # Yields while another process holds the lock of the file, so that a flush waits.
  def locked
    lock = "db = SQLite3::Database.new(ARGV[0]); db.execute('BEGIN IMMEDIATE'); puts; $stdout.flush; $stdin.read"
    IO.popen([RbConfig.ruby, "-r", "sqlite3", "-e", lock, path], "r+") do |holder|
      holder.gets
      yield
      holder.close_write
    end
  end

  # Runs the block in a child process; returns what it returned.
  def in_child
    reader, writer = IO.pipe
    child = fork do
      writer.write(Marshal.dump(yield))
      writer.close
      exit!(0)
    end
    writer.close
    answer = reader.read
    Process.wait(child)
    Marshal.load(answer)
  end
end

RSpec.configure do |config|
  config.include Helpers
  config.disable_monkey_patching!
  config.order = :random
  config.after { FileUtils.rm_rf(@folder) if @folder }
end
