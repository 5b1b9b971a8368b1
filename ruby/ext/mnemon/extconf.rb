# frozen_string_literal: true

# Writes the Makefile with which `gem install` builds the native part. Needs Rust 1.90, a C compiler and libclang.
require "rbconfig"

system("cargo", "--version", out: File::NULL) or abort "mnemon needs Rust 1.90 or newer: see https://rustup.rs"

profile = ENV.fetch("MNEMON_CARGO_PROFILE", "release")
folder = profile == "dev" ? "debug" : profile
extension = RbConfig::CONFIG["DLEXT"]
library = RbConfig::CONFIG["host_os"].match?(/darwin/) ? "libmnemon_native.dylib" : "libmnemon_native.so"

File.write("Makefile", <<~MAKEFILE)
  CARGO_TARGET_DIR ?= #{Dir.pwd}/target
  sitearchdir = #{RbConfig::CONFIG['sitearchdir']}
  DESTDIR =

  all:
  \tcargo build --locked --profile #{profile} --manifest-path #{__dir__}/Cargo.toml --target-dir $(CARGO_TARGET_DIR)
  \tcp $(CARGO_TARGET_DIR)/#{folder}/#{library} mnemon_native.#{extension}

  install: all
  \tmkdir -p $(DESTDIR)$(sitearchdir)/mnemon
  \tcp mnemon_native.#{extension} $(DESTDIR)$(sitearchdir)/mnemon/

  clean:
  \trm -rf target mnemon_native.#{extension}

  .PHONY: all install clean
MAKEFILE
