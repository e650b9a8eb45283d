/**
 * One hospital and its producer, as an administrator sets them up, in one temporary folder: the real command line makes
 * keys and configuration, the real processes serve on ports the system chose. `close` stops them and removes the
 * folder.
 *
 * ```
 * FOLDER/producer/          keygen          FOLDER/hospital/connector.yaml, site.key, ldi/ (from `client`)
 * FOLDER/data/              serve           FOLDER/hospital/state/
 * ```
 */
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { dayJst, systemClock } from '../../../agent/base/clock.ts';
import { callControl } from '../../../agent/base/control/client.ts';
import { controlPath } from '../../../agent/base/control/address.ts';
import type { ControlArgs } from '../../../agent/base/control/frames.ts';
import type { ShipTally } from '../../../agent/flow/shipping.ts';
import type { Status } from '../../../agent/health/index.ts';
import { isError } from '../../../agent/model/errors.ts';
import type { Hl7Message } from './messages.ts';
import { mains, ProductProcess, type SpawnOptions } from './process.ts';
import { type Answer, PipeliningSender } from '../mllp/sender.ts';

export interface HospitalOptions {
  /** Of the configuration, by its top-level name; JSON is YAML. Those of `settings` are replaced, others added. */
  readonly settings?: Readonly<Record<string, unknown>>;
  /** Added to the producer's entry. */
  readonly producer?: Readonly<Record<string, unknown>>;
  /** The state folder; default `FOLDER/hospital/state`. */
  readonly state?: string;
}

export interface CliAnswer {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** One record in the producer's hands. */
export interface OpenedRecord {
  readonly recordId: string;
  readonly parcelId: string;
  readonly sha256: string;
  readonly retracted?: string;
}

export const facility = '1312345670';
export const source = 'ehr-feed';
export const producerName = 'ldi';

/** Next on a leap day: what ships, ships because the test said so. */
export const neverSchedule = '0 0 29 2 *';

const dayMs = 86_400_000;

/** Days before today, Asia/Tokyo. */
export function daysAgo(days: number): string {
  return dayJst(systemClock.now() - days * dayMs);
}

export class Hospital {
  readonly folder: string;
  readonly state: string;
  readonly recoveryKey: string;
  #options: HospitalOptions;
  #agent: ProductProcess | undefined;
  #producer: ProductProcess | undefined;
  readonly #processes: ProductProcess[] = [];
  readonly #answers: CliAnswer[] = [];

  private constructor(folder: string, state: string, recoveryKey: string, options: HospitalOptions) {
    this.folder = folder;
    this.state = state;
    this.recoveryKey = recoveryKey;
    this.#options = options;
  }

  /** Makes keys and folders; nothing runs yet. */
  static async create(options: HospitalOptions = {}): Promise<Hospital> {
    const folder = await mkdtemp(join(tmpdir(), 'kakehashi-hospital-'));
    try {
      const state = options.state ?? join(folder, 'hospital', 'state');
      const keys = join(folder, 'producer');
      await run('producer', ['keygen', '--dir', keys, '--name', producerName]);
      await run('producer', [
        'client',
        '--dir',
        keys,
        '--facility',
        facility,
        '--out',
        join(folder, 'hospital', 'ldi'),
      ]);
      const config = join(folder, 'hospital', 'connector.yaml');
      const init = ['init', '--config', config, '--state', state, '--facility', facility];
      const { stdout } = await run('agent', [...init, '--name', '架橋病院', '--yes', '--json']);
      const { recoveryKey } = JSON.parse(stdout) as { recoveryKey: string };
      return new Hospital(folder, state, recoveryKey, options);
    } catch (error) {
      await rm(folder, { recursive: true, force: true });
      throw error;
    }
  }

  /** Everything an ordinary hospital has: the producer serves, the agent runs, the register covers these patients. */
  static async open(patients: readonly string[], options: HospitalOptions = {}): Promise<Hospital> {
    const hospital = await Hospital.create(options);
    try {
      await hospital.startProducer();
      await hospital.writeConfig();
      await hospital.startAgent();
      await hospital.enrol(patients);
      await hospital.untilTrusted();
      return hospital;
    } catch (error) {
      await hospital.close();
      throw error;
    }
  }

  get configFile(): string {
    return join(this.folder, 'hospital', 'connector.yaml');
  }

  get siteKeyFile(): string {
    return join(this.folder, 'hospital', 'site.key');
  }

  get producerKeys(): string {
    return join(this.folder, 'producer');
  }

  get data(): string {
    return join(this.folder, 'data');
  }

  get agent(): ProductProcess {
    if (!this.#agent) throw new Error('the agent was not started');
    return this.#agent;
  }

  get producer(): ProductProcess {
    if (!this.#producer) throw new Error('the producer was not started');
    return this.#producer;
  }

  /** Where the EHR sends to. */
  get port(): number {
    return this.agent.ready.ports?.[source] ?? 0;
  }

  /** All that the product has said so far, on any stream, by any process. */
  get said(): string {
    return [...this.#processes.map(({ said }) => said), ...this.#answers]
      .map(({ stdout, stderr }) => `${stdout}\n${stderr}\n`)
      .join('');
  }

  /** A second start listens where the first did. */
  async startProducer(...args: readonly string[]): Promise<void> {
    const port = this.#producer?.ready.port ?? 0;
    const where = ['serve', '--dir', this.producerKeys, '--data', this.data, '--listen', `127.0.0.1:${port}`];
    this.#producer = this.#keep(
      await ProductProcess.start('producer', [...where, '--reserve', '0', '--open', '--json', ...args]),
    );
  }

  /** Writes what `init` has written with sources and producers filled in; `url` stands in for the producer's own. */
  async writeConfig(url = `https://127.0.0.1:${this.#producer?.ready.port ?? 9}/`): Promise<void> {
    const settings: Record<string, unknown> = {
      sources: [{ name: source, kind: 'hl7v2', listen: '127.0.0.1:0' }],
      producers: [{ ...this.#producerEntry(url), ...this.#options.producer }],
      console: { listen: '127.0.0.1:0' },
      health: { metrics: '127.0.0.1:0', heartbeat: '10s' },
      ...this.#options.settings,
    };
    const written = await readFile(this.configFile, 'utf8');
    const names = Object.keys(settings).join('|');
    const kept = written.split('\n').filter((line) => !new RegExp(`^(${names}):`).test(line));
    const added = Object.entries(settings).map(([name, value]) => `${name}: ${JSON.stringify(value)}`);
    await writeFile(this.configFile, [...kept.filter((line) => line !== ''), ...added, ''].join('\n'));
  }

  async startAgent(options: SpawnOptions = {}): Promise<void> {
    const started = await ProductProcess.start('agent', ['run', '--config', this.configFile, '--json'], options);
    this.#agent = this.#keep(started);
  }

  /** Stops the agent in order and starts it on another configuration. */
  async restartWith(options: Pick<HospitalOptions, 'settings' | 'producer'>, url?: string): Promise<void> {
    if (this.#agent) await this.#agent.stop();
    this.#options = { ...this.#options, ...options };
    await this.writeConfig(url);
    await this.startAgent();
  }

  /** A notice and a filing for these categories, and these patients notified long ago. */
  async enrol(patients: readonly string[], categories = ['demographics', 'lab-result']): Promise<void> {
    const items = { basis: 'article-57', categories, from: daysAgo(400) };
    await this.ask('register.notice', { version: '2025-01', ...items });
    await this.ask('register.filing', { producer: producerName, ...items });
    await this.register(patients.map((id) => `${id},article-57,2025-01,${daysAgo(90)},`));
  }

  /** Imports a register file of today with these rows, without their last column. */
  async register(rows: readonly string[]): Promise<unknown> {
    const file = join(this.folder, 'register.csv');
    const today = daysAgo(0);
    const lines = ['patient_id,basis,notice,notified_on,stopped_on,as_of', ...rows.map((row) => `${row},${today}`)];
    // Without a row the file still has to say of which day it is.
    await writeFile(file, `${(rows.length === 0 ? [...lines, `,,,,,${today}`] : lines).join('\n')}\n`);
    return this.ask('register.import', { file });
  }

  /** Speaks to the running agent as a command does, without the cost of a process. */
  async ask<T = unknown>(verb: string, args: ControlArgs = {}): Promise<T> {
    return (await callControl(controlPath(this.state), verb, args)) as T;
  }

  /** One run; a run that the schedule has begun (a crash has interrupted one) is waited for first. */
  async ship(args: ControlArgs = {}): Promise<ShipTally> {
    for (;;) {
      try {
        const tallies = await this.ask<Record<string, ShipTally>>('ship', args);
        return tallies[producerName] as ShipTally;
      } catch (error) {
        if (!isError(error, 'JOB_BUSY')) throw error;
        await systemClock.sleep(100);
      }
    }
  }

  status(): Promise<Status> {
    return this.ask<Status>('status');
  }

  /** Asks until the status is as wanted; the test's own time limit is the bound. */
  async until(isSo: (status: Status) => boolean): Promise<Status> {
    for (;;) {
      const status = await this.status();
      if (isSo(status)) return status;
      await systemClock.sleep(100);
    }
  }

  /** The greeting of the start has confirmed the clock. */
  async untilTrusted(): Promise<void> {
    await this.until(({ clock }) => clock.trusted);
  }

  /** The real command line, in a process of its own. */
  async cli(verb: string, ...args: readonly string[]): Promise<CliAnswer> {
    return this.command('agent', [verb, '--config', this.configFile, ...args]);
  }

  async command(program: keyof typeof mains, args: readonly string[]): Promise<CliAnswer> {
    const answer = await outcome(program, args);
    this.#answers.push(answer);
    return answer;
  }

  /** Sends messages on one connection, all in flight at once, and resolves with the answers. */
  async send(messages: readonly Hl7Message[]): Promise<Answer[]> {
    const sender = await PipeliningSender.connect(this.port);
    try {
      return await sender.send(messages);
    } finally {
      sender.close();
    }
  }

  /** Everything the producer has opened, every parcel's own list. */
  async opened(): Promise<OpenedRecord[]> {
    const folder = join(this.data, 'opened', facility);
    if (!existsSync(folder)) return [];
    const found: OpenedRecord[] = [];
    for (const parcel of await readdir(folder)) {
      const index = await readFile(join(folder, parcel, 'index.json'), 'utf8');
      found.push(...(JSON.parse(index) as { records: OpenedRecord[] }).records);
    }
    return found;
  }

  /** Digests of what the producer holds and has not been told to take out, sorted. */
  async openedDigests(): Promise<string[]> {
    const records = await this.opened();
    return records.flatMap(({ sha256, retracted }) => (retracted === undefined ? [sha256] : [])).toSorted();
  }

  /** Names of all files below a part of the state folder. */
  async stateFiles(part = '.'): Promise<string[]> {
    const folder = join(this.state, part);
    if (!existsSync(folder)) return [];
    const entries = await readdir(folder, { recursive: true, withFileTypes: true });
    return entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  }

  async close(): Promise<void> {
    for (const running of this.#processes) running.signal('SIGKILL');
    for (const running of this.#processes) await running.exit();
    await rm(this.folder, { recursive: true, force: true });
  }

  #producerEntry(url: string): Record<string, unknown> {
    return {
      name: producerName,
      basis: 'article-57',
      url,
      recipients: 'ldi/recipients',
      receiptKeys: 'ldi/receipt.jwks',
      tls: { ca: 'ldi/ca.pem', cert: 'ldi/client.pem', key: 'ldi/client.key' },
      schedule: neverSchedule,
    };
  }

  #keep(running: ProductProcess): ProductProcess {
    this.#processes.push(running);
    return running;
  }
}

/** @throws when the exit code is not 0 */
async function run(program: keyof typeof mains, args: readonly string[]): Promise<CliAnswer> {
  const answer = await outcome(program, args);
  if (answer.code !== 0) throw new Error(`${program} ${args[0]} failed: ${answer.stderr}`);
  return answer;
}

async function outcome(program: keyof typeof mains, args: readonly string[]): Promise<CliAnswer> {
  const said = { stdout: '', stderr: '' };
  const child = execFile(process.execPath, [mains[program], ...args], (_error, stdout, stderr) => {
    said.stdout = stdout;
    said.stderr = stderr;
  });
  const [code] = (await once(child, 'close')) as [number];
  return { code, ...said };
}
