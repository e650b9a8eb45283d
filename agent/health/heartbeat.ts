/**
 * Tells the producer that this hospital is alive, and how it is. On its own path and with its own small queue, so that
 * it neither waits behind patients' data nor holds it up.
 *
 * While nobody answers, the last status of each five minutes is kept, for seven days, then the oldest goes. Heartbeats
 * are numbered when they are made and signed when they are sent: a producer sees from a missing number that one was
 * thrown away, and from a signature that nobody in between made one up.
 *
 * ```
 * POST v1/metrics        body: OTLP/HTTP JSON
 * Kakehashi-Signature:   JWS of {"v":1,"agent","seq","sha256","at"}
 * ```
 */
import { createHash } from 'node:crypto';
import type { Db, Migration } from '../base/database.ts';
import { type SigningKey, signJws } from '../base/jws.ts';
import { isoJst } from '../base/clock.ts';
import { ConnectorError } from '../model/errors.ts';
import type { Clock, Report } from '../model/ports.ts';
import { jwsTypes } from '../model/wire.ts';
import { encodeOtlp } from './otlp.ts';
import type { Status } from './status.ts';

const slotMs = 5 * 60_000;

/** Seven days of five minutes; about 10 MB at the most. */
const queuedMax = (7 * 86_400_000) / slotMs;

/** A queue of days is sent over several rounds, so that one round stays short. */
const sentPerRoundMax = 100;

export const heartbeatMigration: Migration = {
  part: 'heartbeat',
  steps: ['CREATE TABLE heartbeat(producer TEXT PRIMARY KEY, sequence INTEGER NOT NULL) STRICT, WITHOUT ROWID'],
};

export interface SignedHeartbeat {
  readonly body: Buffer;
  /** Value of the header `Kakehashi-Signature`. */
  readonly signature: string;
}

/**
 * Posts one heartbeat. `sequence-old`: the producer has seen a higher number (409); it knows more than this disk.
 * Everything but 200 and 409 is thrown as a ConnectorError. Ends when the signal aborts.
 */
export type SendHeartbeat = (beat: SignedHeartbeat, signal: AbortSignal) => Promise<'accepted' | 'sequence-old'>;

export interface HeartbeatOptions {
  readonly db: Db;
  readonly clock: Clock;
  readonly report: Report;
  /** Name of the producer in the configuration. */
  readonly producer: string;
  /** Facility code. */
  readonly agent: string;
  readonly key: SigningKey;
  readonly send: SendHeartbeat;
}

interface Queued {
  readonly slot: number;
  readonly sequence: number;
  body: Buffer;
}

export class Heartbeat {
  readonly #options: HeartbeatOptions;
  readonly #write;
  readonly #queue: Queued[] = [];
  #sequence: number;
  #dropped = 0;
  #isFailing = false;

  constructor(options: HeartbeatOptions) {
    this.#options = options;
    this.#write = options.db.prepare(
      'INSERT INTO heartbeat VALUES (?, ?) ON CONFLICT DO UPDATE SET sequence = excluded.sequence',
    );
    this.#sequence =
      options.db
        .prepare<[string], { sequence: number }>('SELECT sequence FROM heartbeat WHERE producer = ?')
        .get(options.producer)?.sequence ?? 0;
  }

  get queuedCount(): number {
    return this.#queue.length;
  }

  /**
   * Makes a heartbeat of this status and sends what is queued, oldest first. Resolves also when nobody took it: that
   * is reported once, and tried again at the next call. Not twice at once.
   */
  async beat(status: Status, signal: AbortSignal): Promise<void> {
    this.#enqueue(status);
    for (let sent = 0; sent < sentPerRoundMax && !signal.aborted; sent++) {
      const [oldest] = this.#queue;
      if (!oldest || !(await this.#deliver(oldest, signal))) return;
      this.#queue.shift();
    }
  }

  /** Within five minutes the last status wins, under the number the first one got. */
  #enqueue(status: Status): void {
    const slot = Math.floor(this.#options.clock.monotonic() / slotMs);
    const last = this.#queue.at(-1);
    const sequence = last?.slot === slot ? last.sequence : this.#nextSequence();
    const body = encodeOtlp(status, { sequence, dropped: this.#dropped });
    if (last?.slot === slot) last.body = body;
    else this.#queue.push({ slot, sequence, body });
    if (this.#queue.length > queuedMax) {
      this.#queue.shift();
      this.#dropped++;
    }
  }

  async #deliver(beat: Queued, signal: AbortSignal): Promise<boolean> {
    try {
      const answer = await this.#options.send(this.#sign(beat), signal);
      // A restored disk counts from too low: jump over all that may have been sent since, and let this one go.
      if (answer === 'sequence-old') this.#skip();
      this.#isFailing = false;
      return true;
    } catch (error) {
      if (!(error instanceof ConnectorError)) throw error;
      this.#tellFailed(error);
      return false;
    }
  }

  #sign({ body, sequence }: Queued): SignedHeartbeat {
    const { agent, clock, key } = this.#options;
    const sha256 = createHash('sha256').update(body).digest('hex');
    const at = isoJst(clock.now());
    return { body, signature: signJws(key, jwsTypes.heartbeat, { v: 1, agent, seq: sequence, sha256, at }) };
  }

  #nextSequence(): number {
    this.#sequence++;
    this.#save();
    return this.#sequence;
  }

  /** Seconds since the epoch are above any number this agent can have given out, one every minute at most. */
  #skip(): void {
    this.#sequence = Math.max(this.#sequence, Math.floor(this.#options.clock.now() / 1_000));
    this.#save();
  }

  /** On a full disk the heartbeat goes on, which is when it is needed most; the producer tells if a number repeats. */
  #save(): void {
    try {
      this.#write.run(this.#options.producer, this.#sequence);
    } catch (cause) {
      this.#tellFailed(new ConnectorError('BUFFER_FAILED', { reason: 'SQLITE' }, { cause }));
    }
  }

  #tellFailed(error: ConnectorError): void {
    const { report, producer } = this.#options;
    if (!this.#isFailing) report({ name: 'heartbeat.failed', producer, code: error.code });
    this.#isFailing = true;
  }
}
