import { flushCompileCache } from 'node:module';
import { App, partsMsMax, type Ready } from '../app.ts';
import { controlPath } from '../base/control/address.ts';
import { openControl } from '../base/control/client.ts';
import { leave } from '../base/leave.ts';
import { createLog } from '../base/log.ts';
import { systemClock } from '../base/clock.ts';
import { configHash, loadConfig, readConfigText } from '../config/load.ts';
import type { Config } from '../config/schema.ts';
import { ConnectorError } from '../model/errors.ts';
import { configOption, defineVerb, type VerbContext } from './verb.ts';
import { whenUnlocked } from './when-unlocked.ts';

export const verb = defineVerb({
  usage: '[--config FILE]',
  about:
    'Runs the agent in the foreground: listens, polls, ships. SIGTERM stops it within ten seconds, SIGHUP reads the\n' +
    'configuration again and keeps the old one if the new one has a mistake. The log goes to stdout, one JSON line an\n' +
    'event; with --json the first line of all says on which ports it serves.',
  options: { config: configOption },
  positionals: { min: 0, max: 0 },
  run: async ({ config: path }, _positionals, context) => {
    await new Runner(path, context).run(loadConfig(path));
    return 0;
  },
});

/**
 * SIGTERM is answered within ten seconds. Who is then still starting, or hangs where nothing can be cut off, is ended
 * as it stands, which is as safe as a power cut.
 */
const stopMsMax = 9_500;

/** The agent and the signals that steer it. */
class Runner {
  readonly #path: string;
  readonly #context: VerbContext;
  readonly #log = createLog({ clock: systemClock });
  #app: App | undefined;
  /** When SIGTERM came, by the monotonic clock. */
  #toldAt: number | undefined;
  /** One reload after another. */
  #reloading: Promise<void> = Promise.resolve();

  constructor(path: string, context: VerbContext) {
    this.#path = path;
    this.#context = context;
  }

  /** Serves until it is told to stop. */
  async run(config: Config): Promise<void> {
    const ended = new AbortController();
    void this.#endAtLast(ended.signal);
    try {
      await this.#start(config);
      await this.#untilStopped();
    } finally {
      ended.abort();
    }
  }

  async #start(config: Config): Promise<void> {
    const { openConsole, signal } = this.#context;
    const open = () => App.open(config, { log: this.#log, openConsole });
    this.#app = await whenUnlocked(open, { signal, isSettled: () => isServed(config) });
    // Told to stop while the state was opened: nobody has been promised anything yet.
    if (this.#context.signal.aborted) return;
    try {
      this.#tell(await this.#app.serve());
    } catch (error) {
      await this.#app.close();
      throw error;
    }
  }

  async #untilStopped(): Promise<void> {
    const reload = () => {
      this.#reloading = this.#reloading.then(() => this.#reload());
    };
    process.on('SIGHUP', reload);
    await aborted(this.#context.signal);
    process.off('SIGHUP', reload);
    await this.#reloading;
    await this.#close();
  }

  /** Nothing that was left behind may go on without its state: then the process ends, also where it was to reload. */
  async #close(): Promise<void> {
    const spentMs = this.#toldAt === undefined ? 0 : systemClock.monotonic() - this.#toldAt;
    const left = await this.#app?.close(Math.max(0, partsMsMax - spentMs));
    if (left !== undefined && left.length > 0) leave(0);
  }

  async #endAtLast(ended: AbortSignal): Promise<void> {
    await aborted(this.#context.signal);
    this.#toldAt = systemClock.monotonic();
    await systemClock.sleep(stopMsMax, ended);
    if (ended.aborted) return;
    this.#log.report({ name: 'agent.part-left', word: 'agent', code: 'JOB_STUCK', numbers: { limitMs: stopMsMax } });
    this.#log.flush();
    leave(0);
  }

  /** A configuration that cannot be read changes nothing; one that cannot be opened gives way to the one before. */
  async #reload(): Promise<void> {
    const before = this.#app?.config as Config;
    try {
      const config = loadConfig(this.#path);
      await this.#close();
      await this.#start(config);
      this.#log.report({ name: 'config.reloaded' });
    } catch (error) {
      if (!(error instanceof ConnectorError)) throw error;
      this.#log.report({ name: 'config.reload-failed', code: error.code });
      if (this.#app?.signal.aborted) await this.#start(before);
      if (this.#app) this.#app.refusedConfig = configHash(readConfigText(this.#path));
    }
  }

  #tell(ready: Ready): void {
    this.#context.terminal.result(ready);
    // Here and not at the end, which a power cut would leave out: the next start finds everything compiled.
    flushCompileCache();
  }
}

async function isServed({ state }: Config): Promise<boolean> {
  try {
    const socket = await openControl(controlPath(state));
    socket.destroy();
    return true;
  } catch {
    return false;
  }
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}
