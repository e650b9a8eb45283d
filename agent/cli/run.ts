import { App, type Ready } from '../app.ts';
import { createLog } from '../base/log.ts';
import { systemClock } from '../base/clock.ts';
import { configHash, loadConfig, readConfigText } from '../config/load.ts';
import type { Config } from '../config/schema.ts';
import { ConnectorError } from '../model/errors.ts';
import { configOption, defineVerb, type VerbContext } from './verb.ts';

export const verb = defineVerb({
  usage: '[--config FILE]',
  about:
    'Runs the agent in the foreground: listens, polls, ships. SIGTERM stops it within ten seconds, SIGHUP reads the\n' +
    'configuration again and keeps the old one if the new one has a mistake. The log goes to stdout, one JSON line an\n' +
    'event; with --json the first line of all says on which ports it serves.',
  options: { config: configOption },
  positionals: { min: 0, max: 0 },
  run: async ({ config: path }, _positionals, context) => {
    const runner = new Runner(path, context);
    await runner.start(loadConfig(path));
    await runner.untilStopped();
    return 0;
  },
});

/** The agent and the signals that steer it. */
class Runner {
  readonly #path: string;
  readonly #context: VerbContext;
  readonly #log = createLog({ clock: systemClock });
  #app: App | undefined;
  /** One reload after another. */
  #reloading: Promise<void> = Promise.resolve();

  constructor(path: string, context: VerbContext) {
    this.#path = path;
    this.#context = context;
  }

  async start(config: Config): Promise<void> {
    this.#app = await App.open(config, { log: this.#log, openConsole: this.#context.openConsole });
    try {
      this.#tell(await this.#app.serve());
    } catch (error) {
      await this.#app.close();
      throw error;
    }
  }

  async untilStopped(): Promise<void> {
    const reload = () => {
      this.#reloading = this.#reloading.then(() => this.#reload());
    };
    process.on('SIGHUP', reload);
    await aborted(this.#context.signal);
    process.off('SIGHUP', reload);
    await this.#reloading;
    await this.#app?.close();
  }

  /** A configuration that cannot be read changes nothing; one that cannot be opened gives way to the one before. */
  async #reload(): Promise<void> {
    const before = this.#app?.config as Config;
    try {
      const config = loadConfig(this.#path);
      await this.#app?.close();
      await this.start(config);
      this.#log.report({ name: 'config.reloaded' });
    } catch (error) {
      if (!(error instanceof ConnectorError)) throw error;
      this.#log.report({ name: 'config.reload-failed', code: error.code });
      if (this.#app?.signal.aborted) await this.start(before);
      if (this.#app) this.#app.refusedConfig = configHash(readConfigText(this.#path));
    }
  }

  #tell(ready: Ready): void {
    this.#context.terminal.result(ready);
  }
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}
