//! The client side of the console: `lampfield console`.

use std::cell::RefCell;
use std::io::{BufRead, BufReader, IsTerminal, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::DefaultHistory;
use rustyline::validate::Validator;
use rustyline::{Editor, Helper};

/// A node that says nothing for this long is stuck.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// What `lampfield console` was asked to do.
#[derive(Clone, Debug)]
pub struct ConsoleRequest {
    /// The node's console socket.
    pub socket: PathBuf,
    /// Commands to run and be done (`-x`); without any, commands are read from the terminal or
    /// from standard input.
    pub commands: Vec<String>,
    /// Asks for answers as JSON.
    pub json: bool,
    /// Where interactive input is remembered; `None` forgets it.
    pub history: Option<PathBuf>,
}

/// Where a node has its console socket if nothing else is configured: in its state directory, the
/// user's runtime directory, `/run/lampfield`, or a directory of the user's under the temporary
/// one; the first that can be used.
pub fn default_socket_path(state_dir: Option<&Path>) -> PathBuf {
    const NAME: &str = "console.sock";
    if let Some(directory) = state_dir {
        return directory.join(NAME);
    }
    if let Some(directory) = std::env::var_os("XDG_RUNTIME_DIR").filter(|d| !d.is_empty()) {
        return PathBuf::from(directory).join("lampfield").join(NAME);
    }
    let run = Path::new("/run/lampfield");
    if run.is_dir() {
        return run.join(NAME);
    }
    let user = std::env::var("USER").unwrap_or_else(|_| "nobody".to_owned());
    std::env::temp_dir().join(format!("lampfield-{}", user.replace('/', "_"))).join(NAME)
}

/// Where interactive input is remembered: in the user's state directory, if he has a home.
pub fn default_history_path() -> Option<PathBuf> {
    let state = std::env::var_os("XDG_STATE_HOME").filter(|d| !d.is_empty()).map(PathBuf::from);
    let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".local/state"));
    Some(state.or_else(home)?.join("lampfield").join("console_history"))
}

/// Talks to a running node. The exit code is 0 if all commands went well, else 1.
///
/// # Errors
///
/// No node runs at that socket, or it stopped talking.
pub fn console_main(request: &ConsoleRequest) -> anyhow::Result<ExitCode> {
    let mut connection = Connection::open(&request.socket, request.json)?;
    let mut ok = true;
    if !request.commands.is_empty() {
        for command in &request.commands {
            ok &= connection.run(command)?;
        }
    } else if std::io::stdin().is_terminal() {
        interact(connection, request.history.as_deref())?;
    } else {
        for line in std::io::stdin().lock().lines() {
            ok &= connection.run(&line.context("cannot read standard input")?)?;
        }
    }
    Ok(if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn interact(connection: Connection, history: Option<&Path>) -> anyhow::Result<()> {
    let mut editor: Editor<Assistant, DefaultHistory> = Editor::new()?;
    editor.set_helper(Some(Assistant { connection: RefCell::new(connection) }));
    if let Some(path) = history {
        if let Some(directory) = path.parent() {
            // Without a history the console still works, so failures here are not told.
            let _ = std::fs::create_dir_all(directory);
        }
        let _ = editor.load_history(path);
    }
    println!("Lampfield console. `help` lists commands, `quit` leaves.");
    loop {
        let line = match editor.readline("lampfield> ") {
            Ok(line) => line,
            Err(ReadlineError::Interrupted) => continue,
            Err(ReadlineError::Eof) => break,
            Err(error) => return Err(error).context("cannot read from the terminal"),
        };
        let command = line.trim();
        if command.is_empty() {
            continue;
        }
        if matches!(command, "quit" | "exit") {
            break;
        }
        let _ = editor.add_history_entry(command);
        if let Some(assistant) = editor.helper() {
            assistant.connection.borrow_mut().run(command)?;
        }
    }
    if let Some(path) = history {
        let _ = editor.save_history(path);
    }
    Ok(())
}

/// A connection to the node's console.
struct Connection {
    stream: BufReader<UnixStream>,
    /// How commands are asked to be run.
    verb: &'static str,
}

impl Connection {
    fn open(socket: &Path, json: bool) -> anyhow::Result<Self> {
        let stream = UnixStream::connect(socket).with_context(|| {
            format!(
                "no node answers at {}: is one running, and is this its console socket?",
                socket.display()
            )
        })?;
        stream.set_read_timeout(Some(ANSWER_TIMEOUT)).context("cannot set a timeout")?;
        let verb = if json { "json" } else { "run" };
        Ok(Self { stream: BufReader::new(stream), verb })
    }

    /// Runs one command and prints what it prints. False if it failed.
    fn run(&mut self, command: &str) -> anyhow::Result<bool> {
        let mut out = std::io::stdout().lock();
        // A reader that went away (`| head`) ends the output, not the command.
        let ok = self.ask(self.verb, command, |line| drop(writeln!(out, "{line}")))?;
        Ok(ok)
    }

    fn ask(
        &mut self,
        verb: &str,
        text: &str,
        mut each_line: impl FnMut(&str),
    ) -> anyhow::Result<bool> {
        // One request is one line.
        let text = text.replace(['\n', '\r'], " ");
        let request = format!("{verb} {text}\n");
        self.stream.get_mut().write_all(request.as_bytes()).context("the node has gone")?;
        let mut line = String::new();
        loop {
            line.clear();
            if self.stream.read_line(&mut line).context("the node does not answer")? == 0 {
                bail!("the node has gone");
            }
            match line.trim_end_matches('\n') {
                "ok" => return Ok(true),
                "failed" => return Ok(false),
                output => each_line(output.strip_prefix('|').unwrap_or(output)),
            }
        }
    }
}

/// Completes words by asking the node.
struct Assistant {
    connection: RefCell<Connection>,
}

impl Completer for Assistant {
    type Candidate = String;

    fn complete(
        &self,
        line: &str,
        place: usize,
        _: &rustyline::Context<'_>,
    ) -> rustyline::Result<(usize, Vec<String>)> {
        let typed = &line[..place];
        let start = typed.rfind([' ', '\t']).map_or(0, |blank| blank + 1);
        let mut candidates = Vec::new();
        let asked = self
            .connection
            .borrow_mut()
            .ask("complete", typed, |candidate| candidates.push(candidate.to_owned()));
        match asked {
            Ok(_) => Ok((start, candidates)),
            // The next command will say that the node is gone.
            Err(_) => Ok((start, Vec::new())),
        }
    }
}

impl Hinter for Assistant {
    type Hint = String;
}
impl Highlighter for Assistant {}
impl Validator for Assistant {}
impl Helper for Assistant {}
