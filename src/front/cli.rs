//! The command line.

use crate::fleet::Address;
use clap::{Args, Parser, Subcommand, ValueEnum};
use lockstep_components::config::{DeviceKind, MAX_THREADS, NetworkKind};
use std::{net::IpAddr, path::PathBuf};

/// Trains game-playing agents from nothing: AlphaZero, with thousands of games in lockstep.
///
/// Without a command it trains the built-in recipe: tic-tac-toe, from random weights to perfect play in seconds, and
/// lets an exact solver check the result.
#[derive(Parser, Debug)]
#[command(name = "lockstep", version, after_help = EXAMPLES)]
pub struct Cli {
    /// What to do; `train` with the built-in recipe if nothing is named.
    #[command(subcommand)]
    pub command: Option<Command>,
}

const EXAMPLES: &str = "\
Examples:
  lockstep                                              learn tic-tac-toe now
  lockstep train connect_four                           learn Connect Four
  lockstep train connect_four --set run.generations=20 --set search.simulations=100
  lockstep train othello --minutes 30                   learn Othello for half an hour
  lockstep grade --run runs/connect_four                how often does it give away a result?
  lockstep match runs/connect_four runs/connect_four@100   how much better has it become?
  lockstep play --run runs/connect_four                 play against it
  lockstep serve runs/connect_four                      the same in a browser, with what it thinks
  lockstep verify --run runs/connect_four --replay      is all of it there, and does it repeat?
  lockstep doctor --run runs/connect_four               what could be better about it?
  lockstep report runs/connect_four                     all that is known of it, as a page for a browser
  lockstep tune connect_four                            the fastest settings here, and how long it will take
  lockstep bench all                                    how fast is this machine?
  lockstep why runs/connect_four 44                     why does it play there, and which games taught it that?
  lockstep fork runs/connect_four@100 --set learn.learning_rate=0.0005 --run runs/slower
  lockstep compare runs/connect_four runs/slower        is one better than the other, and is that certain?";

const COMPARISONS: &str = "\
Examples:
  lockstep compare runs/a runs/b                        is b better than a?
  lockstep compare runs/connect_four@100 runs/connect_four   what did the second half bring?
  lockstep compare runs/a-1 runs/a-2 runs/b-1 runs/b-2  two seeds of each: is it the setting, or the seed?
  lockstep compare runs/a runs/b --pairs 500 --json     a longer match, for programs";

const FLEETS: &str = "\
Examples:
  lockstep train connect_four --fleet folder:/shared/fleet   learn here, and let others play too
  lockstep worker --fleet folder:/shared/fleet          play for it, on any machine that sees the folder
  lockstep fleet status folder:/shared/fleet            who plays, how fast, and what waits for what";

const QUESTIONS: &str = "\
Examples:
  lockstep why runs/othello \"d3 c5 f6\"                 the position after three moves
  lockstep why runs/connect_four \"\" --move 4           the start of the game: what of column 4?
  lockstep why runs/connect_four 4444 --games 20 --json  with twenty games, for programs";

const BENCHES: &str = "\
Examples:
  lockstep bench all                                    everything, in a table
  lockstep bench all --seconds 1 --json > speed.jsonl   the same in a hurry, for programs
  lockstep bench selfplay --game othello                games as a run of the recipe plays them
  lockstep bench search --lanes 1024 --simulations 64   the search alone
  lockstep bench network --channels 128 --blocks 5 --precision f32 --batch 256";

const FORKS: &str = "\
Examples:
  lockstep fork runs/connect_four@100 --set learn.learning_rate=0.0005 --run runs/slower
  lockstep train --run runs/slower                      go on with the branch
  lockstep compare runs/connect_four runs/slower        was that better?";

impl Cli {
    /// Whether the command keeps its results in a folder, so that they are not lost when they cannot be printed.
    pub fn saves(&self) -> bool {
        matches!(self.command, None | Some(Command::Train(_) | Command::Fork(_) | Command::Prune(_)))
    }
}

/// The commands.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Train a player, or go on with a run.
    ///
    /// Plays games against itself, learns from them, and repeats that for `run.generations` generations. Everything
    /// is kept in the run folder; the same command again goes on where it stopped. Ctrl-C stops and saves.
    Train(TrainArgs),
    /// Play games for a run that learns on another machine.
    ///
    /// A worker needs nothing but the place where it meets the learner: settings, game and weights come from there, and the
    /// games go back. It may be stopped, killed and started again at any moment, on as many machines as there are: what is
    /// lost is played again and comes out the same. Ctrl-C hands in what has ended. Machines must compute alike, bit for bit,
    /// unless the run has fleet.exact = false. docs/fleet.md has the way for a shared folder, Slurm, S3, NATS and Kubernetes.
    #[command(after_help = FLEETS)]
    Worker(WorkerArgs),
    /// Look at a fleet: `lockstep fleet status PLACE`.
    #[command(after_help = FLEETS)]
    Fleet(FleetArgs),
    /// Grade a trained player against an exact solver.
    ///
    /// A mistake is a move that gives away a result: a win becomes a draw or a loss, or a draw becomes a loss.
    /// Tic-tac-toe is graded in every position there is, and along every line of play as either side; other games on exact
    /// positions that come with them, such as the test sets of Pascal Pons for Connect Four, or on a file of your own, which
    /// `lockstep label` makes.
    Grade(GradeArgs),
    /// Let two players play a match, or the generations of a run against each other.
    ///
    /// Games are played in pairs: both from the same random opening, with the players on either side. Both take the same number
    /// of simulations unless they are told otherwise. The result is given in Elo with an interval of 95 %; a pair that begins
    /// where an earlier one did, mirrored or not, does not count. The same command plays the same games, whatever the threads.
    Match(MatchArgs),
    /// Play against a trained player in the terminal.
    ///
    /// Type moves, or: undo, hint, moves, position MOVES, new, help, quit. A hint lists the best moves, and where a move is a
    /// cell it draws the share of the search's visits on the board, in percent. There are colours unless NO_COLOR is set.
    Play(PlayArgs),
    /// Make a branch of a run: it goes on from a checkpoint, with other settings from the next round on.
    ///
    /// A fork is a run of its own that begins where another one was, and answers what would have become of that run with
    /// another setting. It shares the games up to there with its parent and takes no room for them; whatever becomes of the
    /// parent, pruned, moved or removed, the fork stays whole. Games draw from seed, round and number, so two forks of a run
    /// share their randomness: what lies between them is the setting, and less noise than between two runs. Without --set it
    /// will be its parent again, bit for bit. Keys that cannot change within a run are refused; the parent is only read, and
    /// may train meanwhile.
    #[command(after_help = FORKS)]
    Fork(ForkArgs),
    /// Play against any player in a browser, and see what it thinks.
    ///
    /// Serves a board for every game and every checkpoint of the runs: the network's policy and the search's visits and
    /// values on the board, the tree move by move, the games of the runs, and why a run plays a move, as `lockstep why` tells.
    /// Only this machine can ask unless --bind says
    /// otherwise; then the address has a token, without which nothing is answered. A run may train meanwhile: with
    /// --threads 1 searches leave it the other cores.
    Serve(ServeArgs),
    /// Check that a run is whole and sound.
    ///
    /// Every file is held against its digest, every game of the log is played through, every checkpoint is loaded and
    /// evaluates, and the metrics have no gap. With --replay a stretch of the run is played and learned again and compared
    /// bit for bit. Nothing is written, and the run may train meanwhile.
    Verify(VerifyArgs),
    /// Tell whether one run is better than another: by their mistakes, by a match, and at equal time.
    ///
    /// The newest players of the runs are compared, and those that each run had when it had taken as many CPU seconds as the
    /// shortest run has taken by now. In games with an oracle all of them are graded in the same positions, so that only
    /// positions count in which they differ. Runs that differ in run.seed alone are one group: between groups the interval is
    /// that of the seeds, and where both have the same seeds, as forks of the same runs have, that of the differences seed by
    /// seed. The first run, or the group that it is in, is what the others are compared with. Each match is kept in the folders
    /// of both runs, in matches.jsonl, from which `lockstep report` makes a table.
    #[command(after_help = COMPARISONS)]
    Compare(CompareArgs),
    /// Ask a run about a position: what does it play there, since when, and which games taught it that?
    ///
    /// For each kept generation it prints what the network and the search say of a move: the one that is asked about, or the
    /// one that the newest generation plays. Then it looks through all games of the log for those that came through the
    /// position, and prints how they went on, what the network was to learn from them, and when they left the replay window,
    /// which is when the position was forgotten. Positions and moves that are the same up to symmetry count as one. Nothing is
    /// written, and the run may train meanwhile.
    #[command(after_help = QUESTIONS)]
    Why(WhyArgs),
    /// List runs: what they do, how far they are, how large and how strong.
    ///
    /// The strength is that of the newest player that was measured or graded. Nothing is written, and the runs may train
    /// meanwhile.
    Runs(RunsArgs),
    /// Free room: remove the older checkpoints of a run, and the games that it does not need to go on.
    ///
    /// It says what it would remove and how much room that would free; only with --yes does it remove anything. The newest
    /// checkpoints stay, and the games that fill their replay windows, so that the run goes on, and `verify` finds it sound. The
    /// older checkpoints are players that are gone then, and `lockstep why` sees only the games that are left. A run in use is
    /// refused. Forks have files of their own and lose nothing.
    Prune(PruneArgs),
    /// Measure the speed of this machine.
    ///
    /// What is measured is the recipe of the game, with its network, its search and its precision, unless options or --set say
    /// otherwise; the first line that is printed names it. The network has random weights.
    ///
    /// `all` measures a fixed list instead, so that two machines or two versions can be compared line by line: plain search and
    /// networks in several games, training, and self-play of the recipe of Connect Four, the networks in each precision that the
    /// device has. Of the options it takes --threads, --vectors, --device (cpu unless it is given), --seconds and --json. It takes
    /// about three minutes.
    #[command(after_help = BENCHES)]
    Bench(BenchArgs),
    /// Find the fastest settings for a recipe on this machine, and tell how long it will take.
    ///
    /// Measures the network in batches of several sizes and in each precision, and self-play with other numbers of lanes,
    /// cohorts, batches in flight, leaves and other sizes of the cache; prints what it measures, and writes the settings with
    /// the reasons as comments. Each value is measured in turn with the recipe's own, which stays unless the other is faster
    /// beyond the noise. The network has random weights meanwhile, so rates of a trained one are a little different.
    Tune(TuneArgs),
    /// Tell what to change in a run: what looks broken, what could be faster, and what may run out.
    ///
    /// The advice is given while the run is made, once for each rule, and kept in metrics.jsonl; this lists it with the
    /// evidence of the newest generation. docs/gpu.md explains the rules.
    Doctor(DoctorArgs),
    /// Write all that is known of a run into one page for a browser: report.html in its folder.
    ///
    /// Strength and diagnosis over the generations, losses, speed, memory, advice, settings, games to replay, and the graded
    /// positions that the newest checkpoint gets wrong. Several runs are drawn over each other on one page, with a table of the
    /// matches that `lockstep compare` has played between them. The page is one
    /// file that loads nothing. A run that trains writes it too, every ten seconds at most and without the wrong positions;
    /// nothing of the run is changed by it.
    Report(ReportArgs),
    /// List the games that can be played.
    ///
    /// With the size of the board, the planes of the network's input, the size of its policy, the number of
    /// symmetries under which positions are averaged and shown to the network, and the usual komi where there is one.
    Games(JsonArgs),
    /// List the devices that networks can run on, and say why one is missing.
    ///
    /// Which ones there are depends on how lockstep was built and on the machine.
    Devices(JsonArgs),
    /// List the recipes to train with.
    ///
    /// They come with lockstep: `lockstep train NAME` takes one, `lockstep config show NAME` prints it.
    Recipes(JsonArgs),
    /// Show recipes, and explain the keys of configurations.
    Config(ConfigArgs),
    /// Make positions with the exact score of every move, to grade players with.
    ///
    /// Plays random games, goes back some moves from their ends, and solves the positions there by brute force: 1 for a
    /// move that wins, 0 for one that draws, -1 for one that loses. Prints the table that `lockstep grade --positions` reads,
    /// and how far it has come on the standard error. Games whose history decides, such as Go, are refused: what a position
    /// is worth there depends on how it was reached.
    Label(LabelArgs),
    /// Print completions for a shell: source them in its startup file.
    Completions {
        /// bash, elvish, fish, powershell or zsh
        shell: clap_complete::Shell,
    },
    /// Print a page of the manual, in roff: lockstep man train | man -l -
    ///
    /// The page lockstep-train(1) is that of `lockstep man train`, lockstep-config-show(1) that of `lockstep man config show`.
    Man {
        /// The command that it is about; without one all of lockstep
        command: Vec<String>,
    },
}

/// `lockstep config`
#[derive(Args, Debug)]
pub struct ConfigArgs {
    /// What to print
    #[command(subcommand)]
    pub command: ConfigCommand,
}

/// What can be printed about configurations.
#[derive(Subcommand, Debug)]
pub enum ConfigCommand {
    /// Print a recipe, to be changed and used with --config
    Show {
        /// One of those that `lockstep recipes` lists
        #[arg(default_value = "tictactoe")]
        recipe: String,
    },
    /// Explain a key: meaning, unit, range, default, and what raising it does
    Explain {
        /// The key, such as search.c_puct; a section explains all of its keys, and nothing explains all there are
        key: Option<String>,
    },
    /// Print a JSON schema of configurations, for editors
    Schema,
}

/// `lockstep label`
#[derive(Args, Debug)]
pub struct LabelArgs {
    /// The game
    pub game: String,
    /// Positions to make
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub positions: u32,
    /// Plies before the end of the games, at least and at most
    #[arg(long, value_names = ["FROM", "TO"], num_args = 2, default_values_t = [8, 12])]
    pub before_end: Vec<usize>,
    /// Give a position up that takes more nodes than this, in millions
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub nodes: u64,
    /// Give a position up that needs a larger table than this, in MB for each thread
    #[arg(long, value_name = "MB", default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub table: u64,
    /// End when not one position in so many could be solved; games that are too short count as well
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub tries: u64,
    /// Name of the set
    #[arg(long, value_name = "NAME", default_value = "end")]
    pub name: String,
    /// Change the rules: game.key=value. May be given several times
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Seed of the games
    #[arg(long, value_name = "S", default_value_t = 1, value_parser = clap::value_parser!(u64).range(0..=i64::MAX as u64))]
    pub seed: u64,
    /// Threads; 0 takes as many as there are cores
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = threads)]
    pub threads: usize,
}

/// `--json` alone.
#[derive(Args, Debug)]
pub struct JsonArgs {
    /// Print one JSON object for each line.
    #[arg(long)]
    pub json: bool,
}

/// `lockstep train`
#[derive(Args, Debug, Default)]
pub struct TrainArgs {
    /// Recipe to train with: one of those that `lockstep recipes` lists [default: tictactoe]
    #[arg(value_name = "RECIPE", conflicts_with = "config")]
    pub recipe: Option<String>,
    /// Recipe of your own, in a file: `lockstep config show RECIPE` prints one to begin with
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Folder to keep the run in [default: runs/ and the recipe's name]. Without a recipe the run that is there goes on
    #[arg(long, value_name = "DIR")]
    pub run: Option<PathBuf>,
    /// Change a key of the recipe: section.key=value. May be given several times.
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Begin a new run with the weights of a file (weights.safetensors) or of the newest checkpoint of a run, instead of
    /// random ones
    #[arg(long, value_name = "FILE|RUN")]
    pub from: Option<PathBuf>,
    /// Threads; 0 takes as many as there are cores. Changes the speed, never the result. Same as --set run.threads=N.
    #[arg(long, value_name = "N", value_parser = threads)]
    pub threads: Option<usize>,
    /// Where the network runs: auto, cpu, cuda, cuda:1, vulkan, ..; see `lockstep devices`. Same as --set run.device=D.
    #[arg(long, value_name = "D", value_parser = device)]
    pub device: Option<DeviceKind>,
    /// Seed of every random choice. Same as --set run.seed=S.
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u64).range(0..=i64::MAX as u64))]
    pub seed: Option<u64>,
    /// Stop after so many minutes as Ctrl-C does, and grade what there is then; the same command goes on later. They count
    /// from the start of the command, and what is rehearsed first is part of them. The learning rate keeps its schedule of all
    /// `run.generations`
    #[arg(long, value_name = "M", value_parser = minutes, allow_negative_numbers = true)]
    pub minutes: Option<f64>,
    /// Share the run with workers on other machines, which meet it at this place: folder:PATH, s3://BUCKET/PREFIX,
    /// gs://BUCKET/PREFIX, az://CONTAINER/PREFIX or nats://HOST:PORT/NAME. The run is the same, bit for bit
    #[arg(long, value_name = "PLACE")]
    pub fleet: Option<Address>,
    /// Leave all games to the workers of --fleet, but for those that are disputed
    #[arg(long, requires = "fleet")]
    pub no_play: bool,
}

/// `lockstep worker`
#[derive(Args, Debug)]
pub struct WorkerArgs {
    /// Place where the learner is met: what its --fleet says
    #[arg(long, value_name = "PLACE")]
    pub fleet: Address,
    /// Threads; 0 takes as many as there are cores
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = threads)]
    pub threads: usize,
    /// Where the network runs [default: as the run's settings say]
    #[arg(long, value_name = "D", value_parser = device)]
    pub device: Option<DeviceKind>,
    /// Games at the same time [default: lanes.count of the run]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub lanes: Option<u32>,
    /// Name by which the learner shows this worker [default: the name of the machine]
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Minutes to wait for a learner that is not there, or not heard of any more
    #[arg(long, value_name = "M", default_value_t = 60.0, value_parser = minutes, allow_negative_numbers = true)]
    pub wait: f64,
}

/// `lockstep fleet`
#[derive(Args, Debug)]
pub struct FleetArgs {
    /// What to do with the fleet
    #[command(subcommand)]
    pub command: FleetCommand,
}

/// What can be done with a fleet.
#[derive(Subcommand, Debug)]
pub enum FleetCommand {
    /// Show the workers, how fast they are, and what waits for what.
    Status {
        /// Place where the fleet meets
        #[arg(value_name = "PLACE")]
        place: Address,
        /// Print JSON, for programs
        #[arg(long)]
        json: bool,
    },
}

/// `lockstep verify`
#[derive(Args, Debug)]
pub struct VerifyArgs {
    /// Folder of the run
    #[arg(long, value_name = "DIR")]
    pub run: PathBuf,
    /// Play and learn again from the last checkpoint before this round to its end, and compare; without a number up to the
    /// newest checkpoint
    #[arg(long, value_name = "ROUND", num_args = 0..=1, value_parser = clap::value_parser!(u64).range(1..))]
    pub replay: Option<Option<u64>>,
    /// Threads; 0 takes as many as there are cores
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = threads)]
    pub threads: usize,
}

/// `lockstep grade`
#[derive(Args, Debug)]
pub struct GradeArgs {
    /// Folder of the run, or the weights.safetensors of a checkpoint alone
    #[arg(long, value_name = "DIR")]
    pub run: PathBuf,
    /// Generation whose checkpoint is graded [default: the newest one]
    #[arg(long, value_name = "GENERATION")]
    pub checkpoint: Option<u64>,
    /// Positions with exact scores, as CSV with the header set,moves,score,scores, such as `lockstep label`
    /// makes [default: those of the game]
    #[arg(long, value_name = "FILE")]
    pub positions: Option<PathBuf>,
    /// Simulations for each move [default: run.grade_simulations of the run, which a file of weights carries]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub simulations: Option<u32>,
    /// Take the network's most likely move, without any search
    #[arg(long, conflicts_with = "simulations")]
    pub network_only: bool,
    /// Leaves that each tree evaluates at once, as `play` does with 8: what deciding before their values are known costs
    /// in strength
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub leaves: u32,
    /// Grade plain tree search without a network instead, for comparison
    #[arg(long, value_enum, value_name = "KIND", conflicts_with = "network_only")]
    pub instead: Option<crate::analyst::Untrained>,
    /// Set the network's evaluations beside exact ones instead: how far they are off in each precision that its device
    /// has, and how often another move comes first. In JSON an error without end is "inf"
    #[arg(long, conflicts_with_all = ["simulations", "network_only", "instead", "leaves"])]
    pub accuracy: bool,
    /// Threads; 0 takes as many as there are cores
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = threads)]
    pub threads: usize,
    /// Where the network runs: auto, cpu, cuda, cuda:1, vulkan, ..; see `lockstep devices` [default: as in the run]
    #[arg(long, value_name = "D", value_parser = device)]
    pub device: Option<DeviceKind>,
    /// Print one JSON object for each set
    #[arg(long)]
    pub json: bool,
}

/// `lockstep match`
#[derive(Args, Debug)]
pub struct MatchArgs {
    /// Two players: the folder of a run, with @GENERATION behind it for an older checkpoint, the weights.safetensors of a
    /// checkpoint alone, or `uniform` or `rollout`, which have learned nothing
    #[arg(value_name = "PLAYER", num_args = 0..=2, conflicts_with = "ladder")]
    pub players: Vec<PathBuf>,
    /// Pairs of games; with --sprt at most so many, with --ladder between any two
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub pairs: u64,
    /// Simulations for each move of either player [default: the larger run.grade_simulations of those that are trained, else 64]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub simulations: Option<u32>,
    /// Random moves that open both games of a pair [default: a quarter of the longest game, at most 6]
    #[arg(long, value_name = "N")]
    pub opening_plies: Option<u32>,
    /// Change how the first player searches: search.key=value; search.simulations gives it other ones than the second has. May
    /// be given several times
    #[arg(long, value_name = "KEY=VALUE", conflicts_with = "ladder")]
    pub a_set: Vec<String>,
    /// Change how the second player searches
    #[arg(long, value_name = "KEY=VALUE", conflicts_with = "ladder")]
    pub b_set: Vec<String>,
    /// Stop as soon as a sequential test has decided whether the first player is ELO0 or ELO1 better, with 5 % of mistakes
    /// either way
    #[arg(long, value_names = ["ELO0", "ELO1"], num_args = 2, allow_negative_numbers = true, conflicts_with = "ladder")]
    pub sprt: Option<Vec<f64>>,
    /// Let all checkpoints of --run play each other, and print their ratings
    #[arg(long)]
    pub ladder: bool,
    /// Folder of the run for --ladder
    #[arg(long, value_name = "DIR", requires = "ladder")]
    pub run: Option<PathBuf>,
    /// The game, where no player is of a run
    #[arg(long)]
    pub game: Option<String>,
    /// Leaves that each tree evaluates at once
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub leaves: u32,
    /// Seed of the openings
    #[arg(long, value_name = "S", default_value_t = 1, value_parser = clap::value_parser!(u64).range(0..=i64::MAX as u64))]
    pub seed: u64,
    /// Threads; 0 takes as many as there are cores
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = threads)]
    pub threads: usize,
    /// Where the networks run: auto, cpu, cuda, cuda:1, vulkan, ..; see `lockstep devices` [default: as in the runs]
    #[arg(long, value_name = "D", value_parser = device)]
    pub device: Option<DeviceKind>,
    /// Print one JSON object for each match, and for each rating of a ladder. An Elo without end is "inf" or "-inf"
    #[arg(long)]
    pub json: bool,
}

/// `lockstep play`
#[derive(Args, Debug)]
pub struct PlayArgs {
    /// Folder of the run, with @GENERATION behind it for an older checkpoint, the weights.safetensors of a checkpoint alone, or
    /// `uniform` or `rollout`, which have learned nothing
    #[arg(long, value_name = "DIR")]
    pub run: PathBuf,
    /// The game, where the player has learned nothing
    #[arg(long)]
    pub game: Option<String>,
    /// Simulations for each of its moves, those of the tree that it keeps from its last move included; more play better
    /// [default: 400, or with --seconds as many as it makes in that time]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub simulations: Option<u32>,
    /// Time for each of its moves. Not for Gumbel search, which plans its simulations when it begins
    #[arg(long, value_name = "S", value_parser = positive_seconds)]
    pub seconds: Option<f64>,
    /// Begin after these moves, as in --moves "d3 c5 f6"
    #[arg(long, value_name = "MOVES", default_value = "", hide_default_value = true)]
    pub moves: String,
    /// Let the player begin
    #[arg(long)]
    pub second: bool,
    /// Where the network runs: auto, cpu, cuda, cuda:1, vulkan, ..; see `lockstep devices` [default: as in the run]
    #[arg(long, value_name = "D", value_parser = device)]
    pub device: Option<DeviceKind>,
    /// Threads; 0 takes as many as there are cores
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = threads)]
    pub threads: usize,
}

/// `lockstep fork`
#[derive(Args, Debug)]
pub struct ForkArgs {
    /// The run to branch from, with @GENERATION behind it for one of its checkpoints: the newest one if none is named
    #[arg(value_name = "RUN[@GENERATION]")]
    pub parent: PathBuf,
    /// Folder of the new run, which must not be there yet
    #[arg(long, value_name = "DIR")]
    pub run: PathBuf,
    /// Change a key from the next round on: section.key=value. May be given several times
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// `lockstep compare`
#[derive(Args, Debug)]
pub struct CompareArgs {
    /// Folders of runs, with @GENERATION behind them for one of their checkpoints: two or more
    #[arg(value_name = "RUN", required = true)]
    pub runs: Vec<PathBuf>,
    /// Simulations for each move of all players; 0 takes the network's most likely move in the positions [default: the largest
    /// run.grade_simulations of the runs]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    pub simulations: Option<u32>,
    /// The most positions of each set to grade in, where the game has several sets
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = positions)]
    pub positions: usize,
    /// Pairs of games between two groups; 0 plays no match
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(0..=1_000_000))]
    pub pairs: u64,
    /// Begin no more matches, and grade no more earlier players, after so many minutes
    #[arg(long, value_name = "M", default_value_t = 5.0, value_parser = positive_minutes)]
    pub minutes: f64,
    /// Where the networks run: auto, cpu, cuda, cuda:1, vulkan, ..; see `lockstep devices` [default: as in the runs]
    #[arg(long, value_name = "D", value_parser = device)]
    pub device: Option<DeviceKind>,
    /// Threads; 0 takes as many as there are cores
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = threads)]
    pub threads: usize,
    /// Print one JSON object. An Elo without end is "inf" or "-inf"
    #[arg(long)]
    pub json: bool,
}

/// `lockstep why`
#[derive(Args, Debug)]
pub struct WhyArgs {
    /// Folder of the run
    #[arg(value_name = "DIR")]
    pub run: PathBuf,
    /// The moves that lead to the position, as in "d3 c5 f6"; "" asks about the start of the game
    #[arg(value_name = "MOVES", allow_hyphen_values = true)]
    pub moves: String,
    /// The move to ask about [default: the one that the newest generation plays]
    #[arg(long = "move", value_name = "MOVE")]
    pub about: Option<String>,
    /// Simulations of each search [default: run.grade_simulations of the run]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub simulations: Option<u32>,
    /// List so many of the games that came through the position, the newest ones
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub games: usize,
    /// Where the networks run: auto, cpu, cuda, cuda:1, vulkan, ..; see `lockstep devices` [default: as in the run]
    #[arg(long, value_name = "D", value_parser = device)]
    pub device: Option<DeviceKind>,
    /// Threads; 0 takes as many as there are cores
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = threads)]
    pub threads: usize,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// `lockstep runs`
#[derive(Args, Debug)]
pub struct RunsArgs {
    /// Folders that runs lie in, or folders of runs [default: runs]
    #[arg(value_name = "DIR")]
    pub dirs: Vec<PathBuf>,
    /// Print one JSON object for each run
    #[arg(long)]
    pub json: bool,
}

/// `lockstep prune`
#[derive(Args, Debug)]
pub struct PruneArgs {
    /// Folders of runs
    #[arg(value_name = "DIR", required = true)]
    pub runs: Vec<PathBuf>,
    /// Checkpoints to keep, the newest ones [default: run.checkpoints of the run]
    #[arg(long, value_name = "N", value_parser = keep)]
    pub keep: Option<usize>,
    /// Remove what is named, instead of only naming it
    #[arg(long)]
    pub yes: bool,
    /// Print one JSON object for each run
    #[arg(long)]
    pub json: bool,
}

/// `lockstep serve`
#[derive(Args, Debug)]
pub struct ServeArgs {
    /// Folders of runs [default: those in runs/]
    #[arg(value_name = "DIR")]
    pub runs: Vec<PathBuf>,
    /// The weights.safetensors of a checkpoint alone, as a player beside those of the runs
    #[arg(long, value_name = "FILE")]
    pub weights: Option<PathBuf>,
    /// Port to listen at; 0 takes any that is free
    #[arg(long, value_name = "P", default_value_t = 7900)]
    pub port: u16,
    /// Address to listen at: 0.0.0.0 for all networks of this machine
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    pub bind: IpAddr,
    /// A name of this machine that may stand in the place of its address. May be given several times
    #[arg(long, value_name = "HOST")]
    pub name: Vec<String>,
    /// Sessions at the same time: each open page has one
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub sessions: u32,
    /// The most simulations of a search; fewer where there is less memory
    #[arg(long, value_name = "N", default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub simulations: u32,
    /// Where the networks run: auto, cpu, cuda, cuda:1, vulkan, ..; see `lockstep devices` [default: as in the runs]
    #[arg(long, value_name = "D", value_parser = device)]
    pub device: Option<DeviceKind>,
    /// Threads that search; 0 takes as many as there are cores
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = threads)]
    pub threads: usize,
}

/// `lockstep tune`
#[derive(Args, Debug)]
pub struct TuneArgs {
    /// Recipe to tune: one of those that `lockstep recipes` lists [default: tictactoe]
    #[arg(value_name = "RECIPE", conflicts_with = "config")]
    pub recipe: Option<String>,
    /// Recipe of your own, in a file
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where the network runs: auto, cpu, cuda, cuda:1, vulkan, ..; see `lockstep devices`
    #[arg(long, value_name = "D", value_parser = device)]
    pub device: Option<DeviceKind>,
    /// Change a key of the recipe: section.key=value. May be given several times.
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// How long to measure
    #[arg(long, value_name = "M", default_value_t = 2.0, value_parser = positive_minutes)]
    pub minutes: f64,
    /// File to write the settings to; it must not be there yet [default: RECIPE-tuned.toml]
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// `lockstep doctor`
#[derive(Args, Debug)]
pub struct DoctorArgs {
    /// Folder of the run
    #[arg(long, value_name = "DIR")]
    pub run: PathBuf,
    /// Print one JSON object for each rule that has something to say
    #[arg(long)]
    pub json: bool,
}

/// `lockstep report`
#[derive(Args, Debug)]
pub struct ReportArgs {
    /// Folders of the runs, at most 8
    #[arg(value_name = "RUN", required = true, num_args = 1..=crate::insight::report::MOST_RUNS)]
    pub runs: Vec<PathBuf>,
    /// File to write [default: report.html in the folder of the run, and in the current one for several runs]
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Look for wrong moves in these positions, as CSV such as `lockstep label` makes [default: those of the game]
    #[arg(long, value_name = "FILE")]
    pub positions: Option<PathBuf>,
    /// Simulations for each move in these positions; 0 takes the network's most likely move [default: run.grade_simulations of
    /// each run]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    pub simulations: Option<u32>,
    /// Threads; 0 takes as many as there are cores
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = threads)]
    pub threads: usize,
    /// Where the networks run: auto, cpu, cuda, cuda:1, vulkan, ..; see `lockstep devices` [default: as in the runs]
    #[arg(long, value_name = "D", value_parser = device)]
    pub device: Option<DeviceKind>,
}

/// `lockstep bench`
#[derive(Args, Clone, Debug)]
pub struct BenchArgs {
    /// What to measure
    #[arg(value_enum)]
    pub what: BenchKind,
    /// The game, and the recipe of that name, whose settings are measured: whatever is not given here is the recipe's
    /// [default: connect_four]
    #[arg(long)]
    pub game: Option<String>,
    /// Games in play at once
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub lanes: Option<u32>,
    /// Simulations of each search, which are then all full ones
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub simulations: Option<u32>,
    /// Threads; 0 takes as many as there are cores
    #[arg(long, default_value_t = 0, value_parser = threads)]
    pub threads: usize,
    /// Positions of a batch (network, train)
    #[arg(long)]
    pub batch: Option<usize>,
    /// Kind of network
    #[arg(long, value_parser = network_kind)]
    pub network: Option<NetworkKind>,
    /// Channels of the network
    #[arg(long)]
    pub channels: Option<usize>,
    /// Residual blocks, or hidden layers
    #[arg(long)]
    pub blocks: Option<usize>,
    /// Where the network runs: auto, cpu, flex, cuda, cuda:1, vulkan, ..; see `lockstep devices`
    #[arg(long)]
    pub device: Option<String>,
    /// The numbers in which the network evaluates: auto, f32, tf32, bf16, f16 or int16; with `train` those of training, f32 or bf16
    #[arg(long)]
    pub precision: Option<String>,
    /// The vectors of the fused kernels: auto, avx512, avx2, neon or portable
    #[arg(long)]
    pub vectors: Option<String>,
    /// Nanoseconds of each stage of a tick for each simulation (search, selfplay)
    #[arg(long)]
    pub stages: bool,
    /// Change a key of the configuration: section.key=value. May be given several times.
    ///
    /// `search` measures plain search: without solver and cache, unless they are set here.
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Seconds to measure for, after a warm-up; for `all`, those of each figure
    #[arg(long, default_value_t = 5.0)]
    pub seconds: f64,
    /// Print one JSON object, or with `all` one for each figure, as soon as it is measured
    #[arg(long)]
    pub json: bool,
}

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum BenchKind {
    /// The search alone, with an evaluator that costs nothing
    Search,
    /// Evaluating batches
    Network,
    /// Steps of the optimiser
    Train,
    /// Everything that playing needs: search, network, games
    Selfplay,
    /// A fixed list of these, of several games and networks, in a table
    All,
}

fn minutes(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|minutes| (0.0..=1e7).contains(minutes));
    number.ok_or_else(|| "it must be a number from 0 to 10000000".into())
}

fn positive_minutes(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|minutes| (0.01..=1e4).contains(minutes));
    number.ok_or_else(|| "it must be a number from 0.01 to 10000".into())
}

fn positions(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|positions| (1..=1_000_000).contains(positions));
    number.ok_or_else(|| "it must be a whole number from 1 to 1000000".into())
}

fn keep(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|keep| (1..=1_000_000).contains(keep));
    number.ok_or_else(|| "it must be a whole number from 1 to 1000000: a run needs one to go on from".into())
}

fn positive_seconds(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|_| "it must be a number of seconds".to_string())?;
    if seconds > 0.0 && seconds <= 86_400.0 { Ok(seconds) } else { Err("it must be above 0 and at most 86400".into()) }
}

fn device(text: &str) -> Result<DeviceKind, String> {
    DeviceKind::try_from(text.to_string())
}

fn network_kind(text: &str) -> Result<NetworkKind, String> {
    match text {
        "resnet" => Ok(NetworkKind::Resnet),
        "mlp" => Ok(NetworkKind::Mlp),
        _ => Err("resnet or mlp".into()),
    }
}

fn threads(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|n| *n <= MAX_THREADS);
    number.ok_or_else(|| {
        format!("it must be a whole number from 0 to {MAX_THREADS}, where 0 takes as many as there are cores")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }
}
