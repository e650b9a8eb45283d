/**
 * Retractions: a patient whose records were delivered has asked to stop. The envelope is taken, made durable and
 * receipted by whoever runs the intake; what it says is encrypted, and only the opener, which holds an identity, acts
 * on it (`producer/open`).
 */
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { isoJst } from '../../agent/base/clock.ts';
import type { Db, Statement } from '../../agent/base/database.ts';
import { writeDurable } from '../../agent/base/files.ts';
import { peekJws, type SigningKey, signJws, verifyJws } from '../../agent/base/jws.ts';
import type { Clock } from '../../agent/model/ports.ts';
import type { Instant } from '../../agent/model/record.ts';
import { jwsTypes, type Retraction, type RetractionReceipt } from '../../agent/model/wire.ts';
import type { Agents } from './agents.ts';
import { refusal } from './refusals.ts';
import { retractionShape } from './shapes.ts';

interface RetractionRow {
  readonly jws: string;
  readonly receipt: string;
}

interface InsertParams {
  agent: string;
  retractionId: string;
  jws: string;
  receipt: string;
  at: Instant;
}

export interface RetractionParts {
  readonly db: Db;
  readonly agents: Agents;
  readonly producer: string;
  readonly signing: SigningKey;
  readonly clock: Clock;
  /** The data folder; each retraction is also a file in it, for whoever opens parcels elsewhere. */
  readonly data: string;
}

export class Retractions {
  readonly #parts: RetractionParts;
  readonly #find: Statement<[string, string], RetractionRow>;
  readonly #insert: Statement<[InsertParams]>;
  readonly #appliedTo: Statement<[string], { jws: string }>;
  readonly #toApply: Statement<[], { agent: string; retractionId: string; jws: string }>;
  readonly #open: Statement<[], { agent: string; retractionId: string }>;
  readonly #mark: Statement<[number, string, string]>;

  constructor(parts: RetractionParts) {
    this.#parts = parts;
    const { db } = parts;
    this.#find = db.prepare('SELECT jws, receipt FROM retraction WHERE agent = ? AND retraction_id = ?');
    this.#insert = db.prepare(`INSERT INTO retraction(agent, retraction_id, jws, receipt, at)
      VALUES (:agent, :retractionId, :jws, :receipt, :at) ON CONFLICT DO NOTHING`);
    this.#appliedTo = db.prepare('SELECT jws FROM retraction WHERE agent = ? AND applied = 1');
    this.#toApply = db.prepare(
      'SELECT agent, retraction_id AS retractionId, jws FROM retraction WHERE applied = 0 ORDER BY at LIMIT 1',
    );
    this.#open = db.prepare('SELECT agent, retraction_id AS retractionId FROM retraction WHERE applied <= 0');
    this.#mark = db.prepare('UPDATE retraction SET applied = ? WHERE agent = ? AND retraction_id = ?');
  }

  /**
   * Takes a retraction and returns the JWS of its receipt. The same retraction again gets the same receipt.
   *
   * @throws ConnectorError INTAKE_REFUSED
   */
  async take(agent: string, jws: string): Promise<string> {
    const retraction = this.#check(agent, jws);
    const { retractionId } = retraction;
    const known = this.#known(agent, retraction);
    if (known) return known;
    await writeDurable(join(retractionFolder(this.#parts.data, agent), `${retractionId}.jws`), Buffer.from(jws));
    const receipt = this.#sign(agent, retractionId, jws);
    this.#insert.run({ agent, retractionId, jws, receipt, at: this.#parts.clock.now() });
    // Of two at once the first one's row stands, and both are told what it says.
    return this.#find.get(agent, retractionId)?.receipt ?? receipt;
  }

  /** The retractions of one hospital that could be read, as they were signed: asked before a parcel is opened. */
  appliedTo(agent: string): string[] {
    return this.#appliedTo.all(agent).map(({ jws }) => jws);
  }

  nextToApply(): { agent: string; retractionId: string; jws: string } | undefined {
    return this.#toApply.get();
  }

  applied(agent: string, retractionId: string): void {
    this.#mark.run(1, agent, retractionId);
  }

  /** Cannot be read here, so it stays open until a person has settled it. */
  setAside(agent: string, retractionId: string): void {
    this.#mark.run(-1, agent, retractionId);
  }

  /** Where nothing is opened here, a person settles a retraction and says so by renaming its file to `ID.jws.done`. */
  settleByHand(): void {
    for (const { agent, retractionId } of this.#open.all()) {
      const path = join(retractionFolder(this.#parts.data, agent), `${retractionId}.jws.done`);
      if (existsSync(path)) this.#mark.run(2, agent, retractionId);
    }
  }

  #check(agent: string, jws: string): Retraction {
    const { agents } = this.#parts;
    const retraction = readRetraction(agents, agent, jws);
    if (retraction.agent !== agent) throw refusal('AGENT_MISMATCH');
    if (retraction.epoch < (agents.find(agent)?.epoch ?? 0)) throw refusal('EPOCH_OLD');
    return retraction;
  }

  #known(agent: string, { retractionId, detail }: Retraction): string | undefined {
    const row = this.#find.get(agent, retractionId);
    if (row && retractionShape.parse(peekJws(row.jws)).detail !== detail) throw refusal('RETRACTION_CHANGED');
    return row?.receipt;
  }

  #sign(agent: string, retractionId: string, jws: string): string {
    const { producer, signing, clock } = this.#parts;
    const sha256 = createHash('sha256').update(jws).digest('hex');
    const receipt: RetractionReceipt = { v: 1, producer, agent, retractionId, sha256, at: isoJst(clock.now()) };
    return signJws(signing, jwsTypes.retractionReceipt, receipt);
  }
}

function retractionFolder(data: string, agent: string): string {
  return join(data, 'retractions', agent);
}

function readRetraction(agents: Agents, agent: string, jws: string): Retraction {
  try {
    return retractionShape.parse(verifyJws(agents.keys(agent), jwsTypes.retraction, jws));
  } catch (cause) {
    throw refusal('SIGNATURE_INVALID', cause);
  }
}
