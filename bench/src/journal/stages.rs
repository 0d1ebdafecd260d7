//! What is measured, each in a process of its own.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use cutover_controller::{DeploymentManager, Importance, Journal, SqliteJournal, SystemClock};
use cutover_core::ServiceName;
use cutover_core::service::ServiceState;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use crate::Failure;
use crate::journal::story::Story;
use crate::journal::world::{Present, World};
use crate::memory::peak_resident;
use crate::statistics::quantile;

/// A controller that has not begun to control every service by then never will.
const PATIENCE: Duration = Duration::from_secs(300);

/// What one process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Stage {
    /// Appends records, all services at once.
    Fill,
    /// Times appends by a number of services at once.
    Append,
    /// Times the reading of the latest state of every service.
    Start,
    /// Times the start of a controller.
    Control,
    /// Times the check of the whole journal.
    Verify,
}

/// A stage and its measures.
#[derive(Debug, Clone, clap::Args)]
pub struct Task {
    /// The journal; what a controller would find is kept beside it.
    #[arg(long, hide = true, default_value = "journal.db")]
    pub journal: PathBuf,
    /// How many services there are.
    #[arg(long, default_value_t = 1_000)]
    pub services: usize,
    /// How many records are appended in this stage.
    #[arg(long, hide = true, default_value_t = 0)]
    pub appends: u64,
    /// The file is not in memory at first.
    #[arg(long, hide = true)]
    pub cold: bool,
}

/// What filling took.
#[derive(Debug, Serialize, Deserialize)]
pub struct Filled {
    /// Seconds.
    pub seconds: f64,
    /// Size of the file and its log afterwards, in bytes.
    pub bytes: u64,
}

/// How long appends took, in milliseconds.
#[derive(Debug, Serialize, Deserialize)]
pub struct Appended {
    /// How many there were.
    pub appends: usize,
    /// Seconds for all of them.
    pub seconds: f64,
    /// Half took no longer.
    pub p50: f64,
    /// 99 of 100 took no longer.
    pub p99: f64,
    /// The longest.
    pub max: f64,
}

/// How long it took to know the latest state of every service.
#[derive(Debug, Serialize, Deserialize)]
pub struct Started {
    /// Seconds until the journal was open and a term begun.
    pub open: f64,
    /// Seconds until every latest state was read, the former included.
    pub states: f64,
    /// The most memory that was resident, in bytes.
    pub memory: u64,
}

/// How long a controller took to start, in seconds, each with what comes before it.
#[derive(Debug, Serialize, Deserialize)]
pub struct Controlled {
    /// Until the clock was set after what was recorded last.
    pub clock: f64,
    /// Until it took requests.
    pub started: f64,
    /// Until every service had recorded what was found.
    pub recorded: f64,
    /// The most memory that was resident, in bytes.
    pub memory: u64,
    /// By how much the file and its log have grown, in bytes.
    pub grown: u64,
}

/// What verifying took.
#[derive(Debug, Serialize, Deserialize)]
pub struct Verified {
    /// Seconds.
    pub seconds: f64,
    /// How many records there are.
    pub records: u64,
    /// The most memory that was resident, in bytes.
    pub memory: u64,
}

/// Does a stage; answers its figures as JSON.
///
/// # Errors
/// If the journal refuses something, or is found wrong.
pub async fn run(stage: Stage, task: &Task) -> Result<String, Failure> {
    if task.cold {
        forget(&task.journal)?;
    }
    Ok(match stage {
        Stage::Fill => serde_json::to_string(&fill(task).await?)?,
        Stage::Append => serde_json::to_string(&append(task).await?)?,
        Stage::Start => serde_json::to_string(&start(task).await?)?,
        Stage::Control => serde_json::to_string(&control(task).await?)?,
        Stage::Verify => serde_json::to_string(&verify(task)?)?,
    })
}

async fn fill(task: &Task) -> Result<Filled, Failure> {
    let (journal, stories) = stories(task).await?;
    let left = Arc::new(AtomicU64::new(task.appends));
    let began = Instant::now();
    let mut services = JoinSet::new();
    for mut story in stories {
        let (journal, left) = (journal.clone(), Arc::clone(&left));
        services.spawn(async move {
            let take = |left: u64| left.checked_sub(1);
            while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok() {
                append_one(&journal, &mut story).await?;
            }
            Ok::<_, Failure>(())
        });
    }
    while let Some(ended) = services.join_next().await {
        ended??;
    }
    Ok(Filled { seconds: began.elapsed().as_secs_f64(), bytes: size(&task.journal)? })
}

async fn append(task: &Task) -> Result<Appended, Failure> {
    let (journal, stories) = stories(task).await?;
    let each = task.appends / stories.len() as u64;
    let began = Instant::now();
    let mut services = JoinSet::new();
    for mut story in stories {
        let journal = journal.clone();
        services.spawn(async move {
            let mut times = Vec::new();
            for _ in 0..each {
                times.push(append_one(&journal, &mut story).await?.as_secs_f64() * 1e3);
            }
            Ok::<_, Failure>(times)
        });
    }
    let mut times = Vec::new();
    while let Some(ended) = services.join_next().await {
        times.extend(ended??);
    }
    let seconds = began.elapsed().as_secs_f64();
    let [p50, p99, max] = [0.5, 0.99, 1.0].map(|share| quantile(&times, share));
    Ok(Appended { appends: times.len(), seconds, p50, p99, max })
}

/// Has the next thing happen to a service; answers how long its record took.
async fn append_one(journal: &SqliteJournal, story: &mut Story) -> Result<Duration, Failure> {
    let expected = story.sequence;
    let record = story.next()?;
    let began = Instant::now();
    journal.append(story.service(), expected, record, Importance::Ordinary).await?;
    Ok(began.elapsed())
}

/// The first services as they are recorded, or new ones.
async fn stories(task: &Task) -> Result<(SqliteJournal, Vec<Story>), Failure> {
    let journal = SqliteJournal::open(&task.journal)?;
    journal.begin_term().await?;
    let now = cutover_controller::Clock::now(&SystemClock::start_after(&journal).await?);
    let mut stories = Vec::new();
    for number in 0..task.services {
        let name: ServiceName = format!("service-{number:04}").parse()?;
        stories.push(match journal.latest(&name).await? {
            Some(latest) => Story::new(latest.state, latest.sequence, now),
            None => Story::new(ServiceState::new(name), 0, now),
        });
    }
    Ok((journal, stories))
}

async fn start(task: &Task) -> Result<Started, Failure> {
    let began = Instant::now();
    let journal = SqliteJournal::open(&task.journal)?;
    journal.begin_term().await?;
    let open = began.elapsed().as_secs_f64();
    let mut latest = Vec::new();
    for service in journal.services().await? {
        latest.extend(journal.latest(&service).await?);
    }
    let states = began.elapsed().as_secs_f64();
    let memory = peak_resident()?;
    let world: Vec<_> = latest.iter().map(|latest| Present::of(&latest.state, latest.sequence)).collect();
    fs::write(beside(&task.journal), serde_json::to_vec(&world)?)?;
    Ok(Started { open, states, memory })
}

async fn control(task: &Task) -> Result<Controlled, Failure> {
    let present: Vec<Present> = serde_json::from_slice(&fs::read(beside(&task.journal))?)?;
    let world = World(Arc::new(present.clone()));
    let before = size(&task.journal)?;
    let began = Instant::now();
    // As the binary does it.
    let journal = SqliteJournal::open(&task.journal)?;
    let times = SystemClock::start_after(&journal).await?;
    let clock = began.elapsed().as_secs_f64();
    let manager = DeploymentManager::start(world.ports(times), Arc::new(journal)).await?;
    let started = began.elapsed().as_secs_f64();
    for Present { service, sequence, .. } in &present {
        let mut watch = manager.watch(service).await.ok_or("a service was forgotten")?;
        let recorded = watch.wait_for(|snapshot| snapshot.sequence > *sequence);
        tokio::time::timeout(PATIENCE, recorded).await??;
    }
    let recorded = began.elapsed().as_secs_f64();
    let grown = size(&task.journal)?.saturating_sub(before);
    Ok(Controlled { clock, started, recorded, memory: peak_resident()?, grown })
}

fn verify(task: &Task) -> Result<Verified, Failure> {
    let began = Instant::now();
    let verification = cutover_controller::journal::verify(&task.journal, None)?;
    let seconds = began.elapsed().as_secs_f64();
    if let Some(fault) = verification.faults.first() {
        return Err(format!("{} faults, the first: {fault}", verification.faults.len()).into());
    }
    Ok(Verified { seconds, records: verification.records, memory: peak_resident()? })
}

/// What a controller would find, beside the journal.
fn beside(journal: &Path) -> PathBuf {
    journal.with_extension("world")
}

/// The file and its log, in bytes.
fn size(journal: &Path) -> Result<u64, Failure> {
    let log = journal.with_extension("db-wal");
    Ok(fs::metadata(journal)?.len() + fs::metadata(log).map_or(0, |log| log.len()))
}

/// Has the system forget what it has in memory of a file, as after a start of the host.
fn forget(journal: &Path) -> Result<(), Failure> {
    let file = File::open(journal)?;
    file.sync_all()?;
    Ok(rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?)
}
