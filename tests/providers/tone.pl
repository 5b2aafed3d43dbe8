#!/usr/bin/perl
# A provider in Perl, written from docs/protocol.md: tones for letters. It speaks ZMTP 3.0 and MessagePack itself and
# needs nothing that does not come with Perl.
use strict;
use warnings;
use Socket;

use constant { VOICE => 'tone', RATE => 16000, MAX_CHARS => 200, MS_PER_LETTER => 50, PI => 3.14159265358979 };

my ($provider, $epoch, $boot, $sock);
my ($received, @frames, @jobs) = ('');
my %cancelled;

# --- CRC-32, as zlib computes it

my @table = map { my $c = $_; $c = $c & 1 ? 0xEDB88320 ^ ($c >> 1) : $c >> 1 for 1 .. 8; $c } 0 .. 255;

sub crc32 {
    my ($bytes, $crc) = @_;
    $crc = ($crc || 0) ^ 0xFFFFFFFF;
    $crc = $table[($crc ^ $_) & 255] ^ ($crc >> 8) for unpack 'C*', $bytes;
    return $crc ^ 0xFFFFFFFF;
}

# --- MessagePack: what we send is packed by type, what comes is read whatever it is

sub int_of  { return pack 'C Q>', 0xCF, $_[0] }
sub real_of { return pack 'C d>', 0xCB, $_[0] }
sub bool_of { return $_[0] ? "\xC3" : "\xC2" }
sub list_of { return pack('C n', 0xDC, scalar @_) . join '', @_ }

sub str_of {
    my ($text) = @_;
    utf8::encode($text) if utf8::is_utf8($text);
    return pack('C n', 0xDA, length $text) . $text;
}

sub map_of {
    my @fields = @_;
    return pack('C n', 0xDE, @fields / 2) . join '', map { $_ % 2 ? $fields[$_] : str_of($fields[$_]) } 0 .. $#fields;
}

my %SIZED = (
    0xC4 => 'C', 0xC5 => 'n', 0xC6 => 'N', 0xD9 => 'C', 0xDA => 'n', 0xDB => 'N',
    0xDC => 'n', 0xDD => 'N', 0xDE => 'n', 0xDF => 'N',
);
my %NUMBER = (
    0xCA => ['f>', 4], 0xCB => ['d>', 8], 0xCC => ['C', 1], 0xCD => ['n', 2], 0xCE => ['N', 4], 0xCF => ['Q>', 8],
    0xD0 => ['c', 1], 0xD1 => ['s>', 2], 0xD2 => ['l>', 4], 0xD3 => ['q>', 8],
);
my %WIDTH = (C => 1, n => 2, N => 4);

sub cut { return substr $_[0], 0, $_[1], '' }

sub read_value {
    my ($type) = unpack 'C', cut($_[0], 1);
    return $type if $type < 0x80;
    return $type - 256 if $type >= 0xE0;
    return read_map($_[0], $type & 15) if $type < 0x90;
    return read_list($_[0], $type & 15) if $type < 0xA0;
    return cut($_[0], $type & 31) if $type < 0xC0;
    return undef if $type == 0xC0;
    return $type == 0xC3 if $type < 0xC4;
    if (my $number = $NUMBER{$type}) { return unpack $number->[0], cut($_[0], $number->[1]) }
    my $letter = $SIZED{$type} or die "a type that MessagePack does not have: $type\n";
    my $size = unpack $letter, cut($_[0], $WIDTH{$letter});
    return cut($_[0], $size) if $type < 0xDC;
    return $type < 0xDE ? read_list($_[0], $size) : read_map($_[0], $size);
}

sub read_list { my $size = $_[1]; my @list; push @list, read_value($_[0]) while $size-- > 0; return \@list }

sub read_map {
    my $size = $_[1];
    my %map;
    while ($size-- > 0) { my $key = read_value($_[0]); $map{$key} = read_value($_[0]) }
    return \%map;
}

# --- ZMTP 3.0 over a unix socket

sub write_all {
    my ($bytes) = @_;
    while (length $bytes) {
        my $sent = syswrite $sock, $bytes;
        exit 1 unless defined $sent;
        substr $bytes, 0, $sent, '';
    }
}

sub read_exactly {
    my ($size) = @_;
    while (length $received < $size) { sysread($sock, $received, 65536, length $received) or exit 1 }
    return cut($received, $size);
}

sub send_frames {
    my @parts = @_;
    my $wire = '';
    for my $index (0 .. $#parts) {
        my $more = $index < $#parts ? 1 : 0;
        my $size = length $parts[$index];
        $wire .= ($size < 256 ? pack 'C C', $more, $size : pack 'C Q>', $more | 2, $size) . $parts[$index];
    }
    write_all($wire);
}

sub say_kind { my ($kind, $payload, @fields) = @_; send_frames('VB1', map_of(kind => str_of($kind), @fields), defined $payload ? $payload : ()) }

sub property { my ($name, $value) = @_; return pack('C', length $name) . $name . pack('N', length $value) . $value }

sub shake_hands {
    write_all("\xFF" . "\0" x 8 . "\x7F" . "\x03\0" . 'NULL' . "\0" x 16 . "\0" x 32);
    read_exactly(64);
    my $ready = "\x05READY" . property('Socket-Type', 'DEALER') . property('Identity', '');
    write_all(pack('C C', 4, length $ready) . $ready);
    my ($flags, $size) = unpack 'C C', read_exactly(2);
    die "no READY, but flags $flags\n" unless $flags == 4;
    read_exactly($size);
}

# One whole message out of what has been received, or nothing.
sub next_message {
    while (length $received >= 2) {
        my ($flags, $size) = unpack 'C C', $received;
        my $head = 2;
        if ($flags & 2) {
            return if length $received < 9;
            $size = unpack 'Q>', substr $received, 1, 8;
            $head = 9;
        }
        return if length $received < $head + $size;
        cut($received, $head);
        my $body = cut($received, $size);
        next if $flags & 4;
        push @frames, $body;
        next if $flags & 1;
        my @whole = @frames;
        @frames = ();
        return \@whole;
    }
    return;
}

# --- the conversation

sub whose { my ($asked) = @_; return (epoch => int_of($epoch), req => str_of($asked->{req}), attempt => int_of($asked->{attempt}), segment => int_of($asked->{segment})) }
sub failed { my ($asked, $code, $words) = @_; say_kind('SegmentFailed', undef, whose($asked), code => str_of($code), message => str_of($words)) }

sub handle {
    my ($message) = @_;
    my $header = $message->[1];
    my $said = read_value($header);
    my $kind = $said->{kind};
    if ($kind eq 'Welcome') { $boot = $said->{boot}; say_kind('Ready', undef, epoch => int_of($epoch), load_ms => real_of(0)) }
    elsif ($kind eq 'Bye') { leave() }
    elsif ($kind !~ /^(Synthesize|Cancel|Exit|Error)$/) { say_kind('Error', undef, code => str_of('UNSUPPORTED'), message => str_of("kind $kind is not known here")) }
    elsif (($said->{boot} // '') ne ($boot // '') || ($said->{epoch} // $epoch) != $epoch) { return }
    elsif ($kind eq 'Synthesize') { push @jobs, { asked => $said, text => $message->[2] } }
    elsif ($kind eq 'Cancel') { cancel($said) }
    elsif ($kind eq 'Exit') { leave() }
}

sub cancel {
    my ($said) = @_;
    for my $job (@jobs) {
        my $asked = $job->{asked};
        next if $asked->{req} ne $said->{req};
        next if grep { defined $said->{$_} && $said->{$_} != $asked->{$_} } qw(attempt segment);
        $job->{cancelled} = 1;
    }
}

sub leave { say_kind('Bye', undef, reason => str_of('asked to')); exit 0 }

# Take what has come. Waits for it if there is nothing to do; the end of standard input is the end of us.
sub listen_for {
    my ($seconds) = @_;
    while (my $message = next_message()) { handle($message); $seconds = 0 if @jobs }
    my $wanted = '';
    vec($wanted, fileno $_, 1) = 1 for \*STDIN, $sock;
    return unless select(my $ready = $wanted, undef, undef, $seconds) > 0;
    if (vec $ready, fileno(STDIN), 1) { sysread(STDIN, my $rest, 4096) or exit 1 }
    if (vec $ready, fileno($sock), 1) { sysread($sock, $received, 65536, length $received) or exit 1 }
    while (my $message = next_message()) { handle($message) }
}

# --- speaking

sub refusal {
    my ($asked, $text) = @_;
    my $voice = $asked->{voice} // VOICE;
    return ('NO_SUCH_VOICE', 'there is one voice, ' . VOICE) unless $voice eq VOICE || $voice eq "$provider/" . VOICE;
    return ('BAD_OPTION', 'there are no options, models and instructions') if %{ $asked->{options} // {} } || defined $asked->{model} || length($asked->{instruct} // '');
    return ('BAD_OPTION', 'pitch and volume cannot be changed') if grep { ($asked->{$_} // 1) != 1 } qw(pitch volume);
    my $speed = $asked->{speed} // 1;
    return ('BAD_REQUEST', 'speed takes 0.5 to 2') unless $speed >= 0.5 && $speed <= 2;
    return ('BAD_REQUEST', 'the segment takes ' . MAX_CHARS . ' characters') if length $text > MAX_CHARS;
    return;
}

sub tone {
    my ($letter, $asked) = @_;
    my $frames = int($asked->{sample_rate} * MS_PER_LETTER / 1000 / ($asked->{speed} // 1));
    return "\0" x (4 * $frames) unless $letter =~ /[\p{L}\p{N}]/;
    my $hertz = 200 + (ord($letter) * 37 + $asked->{seed} % 1000) % 600;
    my $step = 2 * PI * $hertz / $asked->{sample_rate};
    return pack 'f<*', map { 0.3 * sin($step * $_) * sin(PI * $_ / $frames) } 0 .. $frames - 1;
}

# Pieces leave as soon as there is enough for one: 0.1 s for the first, up to 0.5 s for those that follow.
sub flush {
    my ($job, $last) = @_;
    my $rate = $job->{asked}{sample_rate};
    my ($shortest, $longest) = (4 * int($rate / 10), 4 * int($rate / 2));
    while (length $job->{sound} >= $shortest || ($last && length $job->{sound})) {
        my $piece = cut($job->{sound}, $job->{seq} ? $longest : $shortest);
        my $descriptor = list_of(map { int_of($_) } 0, 0, length($piece) / 4, crc32($piece));
        say_kind('Chunk', $piece, whose($job->{asked}), seq => int_of($job->{seq}++), descriptors => list_of($descriptor));
    }
}

sub add_sound {
    my ($job, $bytes) = @_;
    $job->{frames} += length($bytes) / 4;
    if (defined $job->{missing}) {
        my $prefix = cut($bytes, 4 * $job->{missing} > length $bytes ? length $bytes : 4 * $job->{missing});
        $job->{crc} = crc32($prefix, $job->{crc});
        $job->{prefix} += length($prefix) / 4;
        $job->{missing} -= length($prefix) / 4;
        resumed($job) unless $job->{missing};
    }
    $job->{sound} .= $bytes;
    flush($job, 0);
}

sub resumed {
    my ($job) = @_;
    delete $job->{missing};
    say_kind('Resumed', undef, whose($job->{asked}), frames => int_of($job->{prefix}), crc32 => int_of($job->{crc}));
}

sub speak {
    my ($job) = @_;
    my ($asked, $text) = @{$job}{qw(asked text)};
    return failed($asked, 'INVALID_TEXT', 'the segment is not UTF-8') unless utf8::decode($text);
    if (my @no = refusal($asked, $text)) { return failed($asked, @no) }
    %$job = (%$job, sound => '', seq => 0, frames => 0, prefix => 0, crc => 0, missing => $asked->{from_frame});
    my $beat = time;
    for my $letter (split //, $text) {
        listen_for(0);
        return say_kind('SegmentCancelled', undef, whose($asked)) if $job->{cancelled};
        add_sound($job, tone($letter, $asked));
        if (time > $beat) { $beat = time; say_kind('Beat', undef, epoch => int_of($epoch), steps => int_of($job->{frames})) }
    }
    resumed($job) if defined $job->{missing};
    flush($job, 1);
    say_kind('SegmentDone', undef, whose($asked), frames => int_of($job->{frames}));
}

# --- from the start line on

sub start_line {
    my $line = '';
    while ($line !~ /\n/) { sysread(STDIN, $line, 4096, length $line) or exit 1 }
    my %known;
    for my $name (qw(address provider epoch token)) {
        $line =~ /"$name": (?:"((?:[^"\\]|\\.)*)"|(\d+))/ or die "the start line has no $name\n";
        $known{$name} = $1 // $2;
        $known{$name} =~ s/\\u([0-9a-f]{4})|\\(.)/defined $1 ? chr hex $1 : $2/ge;
    }
    return \%known;
}

sub capabilities {
    my $voice = map_of(id => str_of(VOICE), languages => list_of(str_of('en')), default => bool_of(1));
    return map_of(
        engine => str_of('tone.pl'), version => str_of('1'), voices => list_of($voice), sample_rate => int_of(RATE),
        max_chars => int_of(MAX_CHARS), streaming => bool_of(1), deterministic => bool_of(1),
        fingerprint => str_of("tone.pl 1, perl $]"), speed => list_of(real_of(0.5), real_of(2)),
    );
}

my $start = start_line();
($provider, $epoch) = @{$start}{qw(provider epoch)};
(my $path = $start->{address}) =~ s{^ipc://}{} or do { print STDERR "only ipc is spoken here\n"; exit 78 };
utf8::encode($path) if utf8::is_utf8($path);
socket $sock, PF_UNIX, SOCK_STREAM, 0 or die "no socket: $!\n";
connect $sock, sockaddr_un($path) or die "cannot connect to $path: $!\n";
shake_hands();
say_kind(
    'Hello', undef, proto_min => int_of(1), proto_max => int_of(1), agent => str_of('tone.pl/1'), provider => str_of($provider),
    epoch => int_of($epoch), token => str_of($start->{token}), pid => int_of($$), capabilities => capabilities(),
);
while (1) {
    listen_for(@jobs ? 0 : undef);
    while (@jobs) { speak($jobs[0]); shift @jobs }
}
