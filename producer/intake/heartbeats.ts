/** The last heartbeat of each hospital. Signed and numbered, so that an old one cannot be played again. */
import { createHash } from 'node:crypto';
import type { Db, Statement } from '../../agent/base/database.ts';
import { verifyJws } from '../../agent/base/jws.ts';
import type { Clock } from '../../agent/model/ports.ts';
import type { Instant } from '../../agent/model/record.ts';
import { jwsTypes } from '../../agent/model/wire.ts';
import type { Agents } from './agents.ts';
import { refusal } from './refusals.ts';
import { heartbeatShape, otlpShape } from './shapes.ts';

export class Heartbeats {
  readonly #agents: Agents;
  readonly #clock: Clock;
  readonly #keep: Statement<[{ agent: string; seq: number; at: Instant; body: string }]>;

  constructor(db: Db, options: { agents: Agents; clock: Clock }) {
    this.#agents = options.agents;
    this.#clock = options.clock;
    this.#keep = db.prepare(`UPDATE agent SET heartbeat_seq = :seq, heartbeat_at = :at, heartbeat_body = :body
      WHERE code = :agent AND heartbeat_seq < :seq`);
  }

  /** @throws ConnectorError INTAKE_REFUSED */
  take(agent: string, { body, signature }: { body: Buffer; signature: string }): void {
    const { seq } = this.#check(agent, body, signature);
    const { changes } = this.#keep.run({ agent, seq, at: this.#clock.now(), body: body.toString() });
    if (changes === 0) throw refusal('SEQUENCE_OLD');
  }

  #check(agent: string, body: Buffer, signature: string): { seq: number } {
    const signed = this.#read(agent, signature);
    if (signed.agent !== agent) throw refusal('AGENT_MISMATCH');
    if (signed.sha256 !== createHash('sha256').update(body).digest('hex')) throw refusal('HEARTBEAT_INVALID');
    if (!isOtlp(body)) throw refusal('HEARTBEAT_INVALID');
    return signed;
  }

  #read(agent: string, signature: string): { agent: string; seq: number; sha256: string } {
    try {
      return heartbeatShape.parse(verifyJws(this.#agents.keys(agent), jwsTypes.heartbeat, signature));
    } catch (cause) {
      throw refusal('HEARTBEAT_INVALID', cause);
    }
  }
}

function isOtlp(body: Buffer): boolean {
  try {
    return otlpShape.safeParse(JSON.parse(body.toString())).success;
  } catch (cause) {
    throw refusal('HEARTBEAT_INVALID', cause);
  }
}
