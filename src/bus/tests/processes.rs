//! A log between real processes, on a file in memory that all of them map: writers and readers are killed in the middle of
//! whatever they do.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio, id};
use std::time::{Duration, Instant};

use mmap_io::MemoryMappedFile;
use ringway_bus::Words;
use ringway_bus::log::{self, Event, Kind, Layout, Outgoing, Reader, Record, RecordBuffer, Writer};

const LAYOUT: Layout = Layout {
    capacity_bytes: 64 << 10,
    record_bytes_max: 4 << 10,
    number: 3,
};
const ROLE: &str = "RINGWAY_BUS_TEST_LOG";
/// How often the writer is killed; the reader is killed half as often.
const LIVES: u64 = 40;
const PATIENCE: Duration = Duration::from_secs(60);

/// A file in memory, removed at the end.
struct Shared(PathBuf);

impl Drop for Shared {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Killed by its id when the test ends in whatever way.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn spawn(test: &str, path: &Path) -> Process {
    let program = std::env::current_exe().expect("this program");
    let mut command = Command::new(program);
    command.args(["--exact", test, "--ignored"]);
    command.env(ROLE, path).stdout(Stdio::null());
    Process(command.spawn().expect("a process"))
}

fn map(path: &Path) -> MemoryMappedFile {
    MemoryMappedFile::open_rw(path).expect("the file can be mapped")
}

fn words(map: &MemoryMappedFile) -> impl Words {
    let words = LAYOUT.memory_bytes() / 8;
    map.atomic_u64_slice(0, words).expect("as many words")
}

/// The body of a record says over and over which one it is, at a length that follows from its number.
fn body(sequence: u64) -> Vec<u8> {
    let times = usize::try_from(sequence % 301).expect("small");
    sequence.to_ne_bytes().repeat(times)
}

fn check(record: &Record<'_>) {
    assert_eq!(record.kind, Kind::FRAME);
    assert_eq!(record.origin, !record.sequence);
    assert_eq!(record.topic, b"topic");
    assert_eq!(record.body, body(record.sequence));
}

#[test]
#[ignore = "a process of the test below"]
fn writer_process() {
    let Some(path) = std::env::var_os(ROLE) else {
        return;
    };
    let map = map(Path::new(&path));
    let mut writer = Writer::take_over(words(&map)).expect("a log that is sound");
    let mut sequence = None;
    loop {
        let next = sequence.map_or(0, |sequence| sequence + 1);
        // The first number is known only after the first record, which is of another kind.
        let (kind, origin, topic, body) = match sequence {
            None => (Kind::NOTE, 0, &b""[..], vec![]),
            Some(_) => (Kind::FRAME, !next, &b"topic"[..], body(next)),
        };
        let record = Outgoing {
            kind,
            origin,
            topic,
            body: &body,
        };
        sequence = Some(writer.publish(&record).expect("it fits"));
    }
}

#[test]
#[ignore = "a process of the test below"]
fn reader_process() {
    let Some(path) = std::env::var_os(ROLE) else {
        return;
    };
    let map = map(Path::new(&path));
    let mut reader = Reader::attach(words(&map)).expect("a log that is sound");
    let mut buffer = RecordBuffer::new(LAYOUT.record_bytes_max);
    loop {
        if let Some(Event::Record(record)) = reader.poll(&mut buffer).expect("a log that is sound")
            && record.kind != Kind::NOTE
        {
            check(&record);
        }
    }
}

#[test]
fn writers_and_readers_killed_at_any_point_leave_a_log_without_a_wrong_record() {
    let path = PathBuf::from(format!("/dev/shm/ringway-bus-killed-{}", id()));
    let shared = Shared(path);
    let file = File::create_new(&shared.0).expect("a file in memory");
    file.set_len(LAYOUT.memory_bytes() as u64).expect("memory");
    let map = map(&shared.0);
    log::format(&words(&map), LAYOUT).expect("fresh memory");
    let mut reader = Reader::attach(words(&map)).expect("a log");
    let mut buffer = RecordBuffer::new(LAYOUT.record_bytes_max);
    let mut other = spawn("processes::reader_process", &shared.0);
    let (mut began, mut read, mut missed) = (0, 0, 0);
    for life in 1..=LIVES {
        let mut writer = Some(spawn("processes::writer_process", &shared.0));
        // From a few records to many laps, and at whatever store the signal comes.
        let enough = reader.sequence() + 3 + life * life * 10;
        let since = Instant::now();
        loop {
            assert!(since.elapsed() < PATIENCE, "nothing is written");
            let before = reader.sequence();
            match reader.poll(&mut buffer).expect("a log that is sound") {
                Some(Event::Began { epoch }) => began = epoch,
                Some(Event::Gap { records }) => missed += records.get(),
                Some(Event::Record(record)) => {
                    assert_eq!(record.sequence, before);
                    read += 1;
                    if record.kind != Kind::NOTE {
                        check(&record);
                    }
                }
                None if writer.is_none() => break,
                None => std::hint::spin_loop(),
            }
            if reader.sequence() >= enough
                && let Some(mut process) = writer.take()
            {
                assert!(process.0.try_wait().expect("it can be asked").is_none());
            }
        }
        if life % 2 == 0 {
            assert!(other.0.try_wait().expect("it can be asked").is_none());
            other = spawn("processes::reader_process", &shared.0);
        }
    }
    assert_eq!(reader.epoch(), LIVES);
    assert!(began == LIVES || missed > 0);
    let next = reader.sequence();
    assert!(read + missed <= next && next <= read + missed + LIVES);
    assert!(read > 1000, "{read} read, {missed} missed");
}
