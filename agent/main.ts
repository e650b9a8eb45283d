#!/usr/bin/env -S node --max-semi-space-size=2
/** argv to the command line, its answer to the exit code; nothing else. */
import { enableCompileCache } from 'node:module';
import type { OpenConsole } from './app.ts';
import { cacheFolder, relaunch } from './base/relaunch.ts';

if (process.argv[2] === 'run') relaunch(process.env);
// A command only takes what is compiled already, which is a third of its time.
enableCompileCache(cacheFolder);
const { leave } = await import('./base/leave.ts');
const { runCli } = await import('./cli/index.ts');

// Whatever is written is for the service user alone, also what SQLite makes.
process.umask(0o077);

const stop = new AbortController();
process.once('SIGINT', () => stop.abort());
process.once('SIGTERM', () => stop.abort());

// `kakehashi … | head` closes the pipe early; that is its right, and no failure.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error;
});

async function ask(question: string): Promise<string> {
  const { createInterface } = await import('node:readline/promises');
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  try {
    return await terminal.question(question);
  } finally {
    terminal.close();
  }
}

/** Here, because the command line and the console do not know each other. */
const openConsole: OpenConsole = async (status) => {
  const { consoleServer } = await import('./console/index.ts');
  return consoleServer(status);
};

/** What a finished command may leave open before it is let go: a name being looked up, a share that hangs. */
const lingerMsMax = 500;

// Not process.exit: on Windows it asserts while the thread pool works, and it cuts off what stdout has not written.
process.exitCode = await runCli(process.argv.slice(2), {
  stdout: process.stdout,
  stderr: process.stderr,
  env: process.env,
  signal: stop.signal,
  ask: process.stdin.isTTY ? ask : undefined,
  openConsole,
});

// This signal's own timer keeps nothing alive. What stdout still holds is written before the end.
AbortSignal.timeout(lingerMsMax).addEventListener('abort', () =>
  process.stdout.write('', () => leave(process.exitCode ?? 0)),
);
