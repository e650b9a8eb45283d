/**
 * How a verb reaches the state: through the control socket of the agent that runs, or, when none does, by taking the
 * lock and opening the state itself for as long as the one command lasts.
 */
import { destination } from 'pino';
import { commands } from '../app/commands.ts';
import { App } from '../app.ts';
import { callControl } from '../base/control/client.ts';
import { controlPath } from '../base/control/address.ts';
import type { ControlArgs } from '../base/control/frames.ts';
import { createLog } from '../base/log.ts';
import { loadConfig } from '../config/load.ts';
import type { Config } from '../config/schema.ts';
import { ConnectorError, isError } from '../model/errors.ts';
import type { VerbContext } from './verb.ts';
import { whenUnlocked } from './when-unlocked.ts';

/** One step of long work, as commands tell it. */
interface Step {
  readonly name?: string;
  readonly done: number;
  readonly total?: number;
  readonly unit: string;
}

/** @throws ConnectorError of the configuration, the control socket, or the command itself */
export async function askAgent(
  configPath: string,
  verb: string,
  args: ControlArgs,
  context: VerbContext,
): Promise<unknown> {
  const config = loadConfig(configPath);
  const steps = new Steps(verb, context);
  const { signal } = context;
  const progress = (value: unknown) => steps.show(value as Step);
  const ask = async () => {
    try {
      return await callControl(controlPath(config.state), verb, args, { onProgress: progress });
    } catch (error) {
      if (!isError(error, 'CONTROL_UNREACHABLE')) throw error;
      return await withStoppedAgent(config, verb, args, { signal, progress });
    }
  };
  try {
    return await whenUnlocked(ask, { signal });
  } finally {
    steps.stop();
  }
}

async function withStoppedAgent(
  config: Config,
  verb: string,
  args: ControlArgs,
  call: { signal: AbortSignal; progress: (value: unknown) => void },
): Promise<unknown> {
  const command = commands[verb];
  if (!command) throw new ConnectorError('USAGE', { problem: `There is no command ${verb}.` });
  const app = await openStopped(config);
  try {
    return await command(app, { args, ...call });
  } finally {
    await app.close();
  }
}

/** Its log goes to stderr, and only what someone may have to act on: stdout is the command's. */
export function openStopped(config: Config): Promise<App> {
  return App.open(config, { log: createLog({ level: 'warn', to: destination({ fd: 2, sync: true }) }) });
}

/** One progress bar after another, by the name of what is worked on. */
class Steps {
  readonly #verb: string;
  readonly #context: VerbContext;
  #label = '';
  #bar: ReturnType<VerbContext['terminal']['progress']> | undefined;

  constructor(verb: string, context: VerbContext) {
    this.#verb = verb;
    this.#context = context;
  }

  show({ name, done, total, unit }: Step): void {
    const label = name ?? this.#verb;
    if (!this.#bar || label !== this.#label) {
      this.#bar?.stop();
      this.#label = label;
      this.#bar = this.#context.terminal.progress(label, { unit, ...(total !== undefined && { total }) });
    }
    this.#bar.update(done, total);
  }

  stop(): void {
    this.#bar?.stop();
  }
}
