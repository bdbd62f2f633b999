# SPDX-License-Identifier: BSD-2-Clause
# Targets are listed by "make help"; every public target has a "## text" behind it.
# Objects live under build/<mode>/, so modes never mix. MODE: release, debug, asan, fuzz, cov.
MODE ?= release
B    := build/$(MODE)
PKGS := libevent_core openssl libcares libcdb lmdb libpcre2-8 libseccomp sqlite3 libsasl2

CPPFLAGS += -D_GNU_SOURCE -Igateway -I. -Itests/unit
CPPFLAGS += $(shell pkg-config --cflags $(PKGS) 2>/dev/null)
LDLIBS   += $(shell pkg-config --libs $(PKGS) 2>/dev/null) -lpthread
WARN := -Wall -Wextra -Wshadow -Wvla -Wformat=2 -Wundef -Wcast-qual -Wwrite-strings -Wstrict-prototypes \
        -Wmissing-prototypes -Wswitch-enum -Wimplicit-fallthrough -Wno-format-nonliteral
C_release := -O2 -g -D_FORTIFY_SOURCE=2 -fstack-protector-strong -fPIE
C_debug   := -O1 -g3
# lines and names are what a report shows; the rest is for MODE=debug, and is most of what a linker copies
C_asan    := -O1 -g1 -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
C_fuzz    := -O1 -g1 -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all
C_cov     := -O0 -g3 --coverage
L_release := -pie -Wl,-z,relro,-z,now
# a hundred programs with the same library: a faster linker, where there is one
L_asan    := -fsanitize=address,undefined $(if $(shell command -v ld.gold),-fuse-ld=gold)
L_fuzz    := -fsanitize=address,undefined $(if $(shell command -v ld.lld),-fuse-ld=lld)
L_cov     := --coverage
ifeq ($(MODE),fuzz)
CC := clang
else
WARN += -Wno-format-truncation # cutting is what snprintf is for; clang does not know the name
endif
ifndef V
Q := @
endif
CFLAGS  += -std=c17 $(WARN) $(WERROR) $(C_$(MODE))
LDFLAGS += $(L_$(MODE))

LIB_SRC := $(sort $(wildcard gateway/*/*.c policy/*.c rbl/*.c filters/*.c quarantine/*.c))
LIB_OBJ := $(LIB_SRC:%.c=$(B)/%.o)
PROGRAMS := virus attachments
PROG_OBJ := $(foreach n,$(PROGRAMS),$(patsubst %.c,$(B)/%.o,$(sort $(wildcard filters/$(n)/*.c))))
# what the bundled filters link to; --as-needed leaves out of each program what it does not use
FILTER_LIBS = -Wl,--as-needed $(LDLIBS) -lmilter $(shell pkg-config --libs libclamav gmime-3.0 libarchive zlib 2>/dev/null)
GMIME_FLAGS = $(subst -I,-isystem ,$(shell pkg-config --cflags gmime-3.0 libarchive zlib 2>/dev/null))
UNIT    := $(patsubst tests/unit/%.c,$(B)/unit/%,$(sort $(wildcard tests/unit/test_*.c)))
FUZZ    := $(patsubst tests/fuzz/%.c,$(B)/fuzz/%,$(sort $(wildcard tests/fuzz/fuzz_*.c)))
TOOLS   := $(patsubst tests/tools/%.c,$(B)/tools/%,$(sort $(wildcard tests/tools/*.c)))
CRASH   := $(patsubst tests/crash/%.c,$(B)/crash/%,$(sort $(wildcard tests/crash/*.c)))

.DEFAULT_GOAL := all
.SECONDARY: $(PROG_OBJ)
.PHONY: install demo test test-asan test-release test-fuzz lint fuzz attack faults soak peers bench compat all program tools unit-bin crash-bin fuzz-bin help clean

all: deps ## the program: build/dogana, and the bundled filters: build/dogana-*
	@$(MAKE) --no-print-directory program

program: $(B)/dogana $(PROGRAMS:%=$(B)/dogana-%)
	@mkdir -p build && for n in dogana $(PROGRAMS:%=dogana-%); do ln -sf $(MODE)/$$n build/$$n; done

deps:
	@tests/tools/deps.sh build

$(B)/%.o: %.c
	@mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c $< -o $@

$(B)/libdogana.a: $(LIB_OBJ)
	@rm -f $@
	@$(AR) rcs $@ $^

$(B)/dogana: $(B)/gateway/main.o $(B)/libdogana.a
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) $^ $(LDLIBS) -o $@

# their objects but main.o, for the unit tests
$(B)/libfilters.a: $(filter-out %/main.o,$(PROG_OBJ))
	@mkdir -p $(@D) && rm -f $@
	@$(AR) rcs $@ $^

$(B)/filters/attachments/%.o: CPPFLAGS += $(GMIME_FLAGS)
$(B)/filters/virus/%.o: CPPFLAGS += $(shell pkg-config --cflags libclamav 2>/dev/null)

$(B)/dogana-%: $(B)/filters/%/main.o $(B)/libfilters.a $(B)/libdogana.a
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) $^ $(FILTER_LIBS) -o $@

$(B)/unit/%: $(B)/tests/unit/%.o $(B)/libfilters.a $(B)/libdogana.a
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) $^ $(FILTER_LIBS) -lcmocka -o $@

$(B)/crash/%: $(B)/tests/crash/%.o $(B)/libdogana.a
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) $^ $(LDLIBS) -o $@

$(B)/crash/queue_quarantine: LDLIBS += -lcmocka
$(B)/tools/okmilter: LDLIBS += -lmilter
$(B)/tools/%: $(B)/tests/tools/%.o $(B)/libdogana.a
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) $^ $(LDLIBS) -o $@

$(B)/fuzz/%: $(B)/tests/fuzz/%.o $(B)/libfilters.a $(B)/libdogana.a
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -fsanitize=fuzzer $^ $(FILTER_LIBS) -o $@

tools: $(TOOLS)
unit-bin: $(UNIT)
crash-bin: $(CRASH)
fuzz-bin: $(FUZZ)

peers: ## fetch what we are compared with into build/peers (installs nothing); NAMES="postfix swaks ..."
	@tests/tools/peers.sh $(NAMES)

bench: program ## benchmarks beside Postfix, as ratios; ONLY="relay latency idle recovery policy dns tls triage filters quarantine" N= RUNS=
	@tests/tools/peers.sh postfix clamav
	@/usr/bin/python3 tests/bench/bench.py

compat: program tools ## the same configuration and client for Postfix and for us; every reply compared
	@tests/tools/peers.sh postfix pflogsumm fail2ban nsd
	@/usr/bin/python3 tests/compat/conf.py
	@/usr/bin/python3 tests/compat/dns.py
	@/usr/bin/python3 tests/compat/lists.py
	@/usr/bin/python3 tests/compat/triage.py
	@/usr/bin/python3 tests/compat/routing.py --runs $(or $(SEEDS),3)
	@/usr/bin/python3 tests/compat/verify.py
	@/usr/bin/python3 tests/compat/tlsout.py
	@/usr/bin/python3 tests/compat/tables.py --runs $(or $(SEEDS),200)
	@/usr/bin/python3 tests/compat/servers.py --runs $(or $(SEEDS),100)
	@/usr/bin/python3 tests/compat/sessions.py --seeds $(or $(SEEDS),40)
	@/usr/bin/python3 tests/compat/headers.py
	@/usr/bin/python3 tests/compat/checks.py
	@/usr/bin/python3 tests/compat/sasl.py
	@/usr/bin/python3 tests/compat/milters.py
	@/usr/bin/python3 tests/compat/own_mail.py
	@/usr/bin/python3 tests/compat/tls.py
	@/usr/bin/python3 tests/compat/rewrite.py --runs $(or $(SEEDS),2)
	@/usr/bin/python3 tests/compat/compat.py

PAR = $(if $(findstring j,$(firstword -$(MAKEFLAGS))),,-j$(shell nproc))

demo: deps ## the gateway at work on loopback with real messages, in a minute
	@$(MAKE) --no-print-directory -s $(PAR) program tools
	@tests/demo/demo.sh

test: ## every test; ends with "N passed, N failed, N skipped"; SUITE="unit crash fuzz lint dialogue dns sandbox keys leaks kill compat sessions peers attachments demo"
	@tests/tools/deps.sh test
	@timeout 300 tests/tools/peers.sh $(TEST_PEERS) >/dev/null 2>&1 & peers=$$!; \
	$(MAKE) --no-print-directory -s $(PAR) test-asan test-release test-fuzz || { kill $$peers 2>/dev/null; exit 2; }; \
	wait $$peers || echo "test: not all of those we are tested with are there: what needs them is skipped" >&2
	@/usr/bin/python3 tests/run.py $(SUITE)

# fetched while the compiler works; a test whose peer is missing is skipped and counted
TEST_PEERS := postfix nsd rbldnsd dnsdist swaks aiosmtpd opendkim opendmarc python3-milter clamav spamass rspamd filters dovecot sasl2-bin

# what the tests run, in one make, so that no processor waits for the last link of one of them
test-asan:
	@$(MAKE) MODE=asan WERROR=-Werror build/asan/dogana $(PROGRAMS:%=build/asan/dogana-%) tools unit-bin crash-bin
test-release:
	@$(MAKE) MODE=release WERROR=-Werror program build/release/tools/bare_kernel
test-fuzz:
	@if command -v clang >/dev/null; then $(MAKE) MODE=fuzz WERROR=-Werror fuzz-bin; fi

lint: ## layers, banned calls, tables, every warning of gcc, clang and cppcheck; silent when clean
	@bad=0; /usr/bin/python3 tests/lint/lint.py || bad=1; \
	tests/lint/compile.sh "$(CPPFLAGS) $(GMIME_FLAGS) -std=c17 $(WARN)" $(LIB_SRC) $(PROG_OBJ:$(B)/%.o=%.c) gateway/main.c $(wildcard tests/*/*.c) || bad=1; exit $$bad

fuzz: ## fuzz one parser: make fuzz F=line T=60
	@test -n "$(F)" || { echo "make fuzz F=name T=seconds; name: $(patsubst tests/fuzz/fuzz_%.c,%,$(wildcard tests/fuzz/fuzz_*.c))"; exit 2; }
	@$(MAKE) --no-print-directory -s $(PAR) MODE=fuzz build/fuzz/fuzz/fuzz_$(F)
	@mkdir -p build/tmp/corpus/fuzz_$(F)
	build/fuzz/fuzz/fuzz_$(F) -max_total_time=$(or $(T),60) -timeout=10 -artifact_prefix=build/tmp/corpus/fuzz_$(F)/crash- \
	    build/tmp/corpus/fuzz_$(F) $(wildcard tests/fuzz/corpus/$(F)) $(addprefix -dict=,$(wildcard tests/fuzz/fuzz_$(F).dict))

attack: ## floods, slow clients, oversized everything: what must fail, under the sanitizers; ONLY="name ..."
	@$(MAKE) --no-print-directory -s $(PAR) MODE=asan build/asan/dogana $(PROGRAMS:%=build/asan/dogana-%) tools
	@/usr/bin/python3 tests/attack/run.py $(ONLY)
	@test -n "$(ONLY)" || /usr/bin/python3 tests/peers/tls.py --full

faults: ## kill each role at random under load, fail every system call of the spool; N=100 kills
	@$(MAKE) --no-print-directory -s $(PAR) MODE=asan build/asan/dogana $(PROGRAMS:%=build/asan/dogana-%) tools crash-bin
	@/usr/bin/python3 tests/run.py crash
	@/usr/bin/python3 tests/crash/killrun.py $(or $(N),100)
	@/usr/bin/python3 tests/dialogue/run.py --cut -j 4

soak: ## mixed load for T seconds; nothing lost, memory and descriptors level
	@$(MAKE) --no-print-directory -s $(PAR) program tools
	@DOGANA=$(abspath build/release/dogana) TOOLS=$(abspath build/release/tools) /usr/bin/python3 tests/attack/soak.py $(or $(T),600)

PREFIX ?= /usr
SBIN   := $(DESTDIR)$(PREFIX)/sbin
LIBDIR := $(DESTDIR)$(PREFIX)/lib/dogana
MAN    := $(DESTDIR)$(PREFIX)/share/man
COMPAT_NAMES := mailq postqueue postsuper postcat postconf postmap postalias qshape newaliases sendmail

install: program ## program, man pages, /etc/dogana, systemd unit; DESTDIR=, COMPAT=1 adds mailq, postqueue, ...
	install -d $(SBIN) $(LIBDIR) $(MAN)/man5 $(MAN)/man8 $(DESTDIR)/etc/dogana $(DESTDIR)/usr/lib/systemd/system $(DESTDIR)/usr/lib/sysusers.d
	install -m 755 $(B)/dogana $(SBIN)/dogana
	install -m 755 $(PROGRAMS:%=$(B)/dogana-%) $(LIBDIR)/
	$(B)/dogana help --man >$(MAN)/man8/dogana.8
	$(B)/dogana conf --man >$(MAN)/man5/dogana.cf.5
	for f in conf.d/*; do test -e $(DESTDIR)/etc/dogana/$${f#conf.d/} || install -m 644 $$f $(DESTDIR)/etc/dogana/; done
	install -m 644 gateway/admin/dogana.service $(DESTDIR)/usr/lib/systemd/system/
	install -m 644 gateway/admin/dogana.sysusers $(DESTDIR)/usr/lib/sysusers.d/dogana.conf
	$(if $(COMPAT),for n in $(COMPAT_NAMES); do \
	    if [ -e $(SBIN)/$$n ] && [ "$$(readlink $(SBIN)/$$n)" != dogana ]; then echo "$(SBIN)/$$n is somebody else's: left alone" >&2; \
	    else ln -sf dogana $(SBIN)/$$n; fi; done)
	@test -n "$(DESTDIR)" || systemd-sysusers dogana.conf 2>/dev/null || \
	    for u in edge queue relay lookup keys auth filter; do getent passwd dogana-$$u >/dev/null || useradd -r -d /nonexistent -s /usr/sbin/nologin dogana-$$u; done

help: ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  %-12s %s\n", $$1, $$2}' Makefile

clean: ## remove everything built (not build/peers)
	rm -rf build/release build/debug build/asan build/fuzz build/cov build/tmp build/dogana $(PROGRAMS:%=build/dogana-%)

-include $(LIB_OBJ:.o=.d) $(PROG_OBJ:.o=.d) $(wildcard $(B)/gateway/main.d $(B)/tests/*/*.d)
