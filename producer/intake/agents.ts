/** The hospitals: which key each signs with, which epoch it is in, and what it last said of its ledger. */
import assert from 'node:assert';
import type { Db, Statement } from '../../agent/base/database.ts';
import { inTransaction } from '../../agent/base/database.ts';
import { type PublicJwk, peekJws, verifyJws } from '../../agent/base/jws.ts';
import type { Instant } from '../../agent/model/record.ts';
import { type Hello, type HelloAnswer, jwsTypes, type LedgerHead } from '../../agent/model/wire.ts';
import { refusal } from './refusals.ts';
import { helloShape } from './shapes.ts';

export interface AgentRow {
  readonly code: string;
  readonly key_x: string | null;
  readonly epoch: number;
  readonly ledger_seq: number | null;
  readonly ledger_hash: string | null;
}

export class Agents {
  readonly #db: Db;
  readonly #producer: string;
  readonly #find: Statement<[string], AgentRow>;
  readonly #insert: Statement<[string, string | null]>;
  readonly #pin: Statement<[string, string]>;
  readonly #greet: Statement<[{ code: string; epoch: number; at: number }]>;
  readonly #witness: Statement<[{ code: string; epoch: number; seq: number; hash: string }]>;
  readonly #progress: Statement<[string], { sequence: number; receiptSequence: number }>;

  constructor(db: Db, producer: string) {
    this.#db = db;
    this.#producer = producer;
    this.#find = db.prepare('SELECT code, key_x, epoch, ledger_seq, ledger_hash FROM agent WHERE code = ?');
    this.#insert = db.prepare('INSERT INTO agent(code, key_x) VALUES (?, ?) ON CONFLICT DO NOTHING');
    this.#pin = db.prepare('UPDATE agent SET key_x = ? WHERE code = ? AND key_x IS NULL');
    this.#greet = db.prepare('UPDATE agent SET hello_at = :at, epoch = :epoch WHERE code = :code');
    this.#witness = db.prepare(`UPDATE agent SET ledger_epoch = :epoch, ledger_seq = :seq, ledger_hash = :hash
      WHERE code = :code AND (:epoch > ledger_epoch OR ledger_seq IS NULL OR :seq > ledger_seq)`);
    this.#progress = db.prepare(`SELECT sequence_max AS sequence,
      (SELECT coalesce(max(receipt_sequence), 0) FROM receipt WHERE agent = code) AS receiptSequence
      FROM agent WHERE code = ?`);
  }

  /** Makes a hospital known, with a key that was agreed on beforehand if there is one. Harmless twice. */
  register(code: string, key?: PublicJwk): void {
    this.#insert.run(code, key?.x ?? null);
    if (key) this.#pin.run(key.x, code);
  }

  find(code: string): AgentRow | undefined {
    return this.#find.get(code);
  }

  /** The pinned key as a list for `verifyJws`: empty while there is none. */
  keys(code: string): PublicJwk[] {
    const x = this.find(code)?.key_x;
    return x ? [{ kty: 'OKP', crv: 'Ed25519', x }] : [];
  }

  /**
   * First word of a session. The first hello pins its key (over mutual TLS, so whoever holds the certificate); from
   * then on only that key is heard. The answer holds the ledger head witnessed *before*: a restored agent's own head
   * is an older one and must not replace what it came to ask for.
   */
  hello(code: string, jws: string, now: Instant): HelloAnswer {
    const hello = readHello(jws);
    if (hello.agent !== code) throw refusal('AGENT_MISMATCH');
    return inTransaction(this.#db, () => {
      this.register(code);
      this.#pin.run(hello.key.x, code);
      const agent = this.find(code);
      assert(agent, 'an agent is there once it is registered');
      if (agent.key_x !== hello.key.x) throw refusal('KEY_MISMATCH');
      if (hello.epoch < agent.epoch) throw refusal('EPOCH_OLD');
      this.#greet.run({ code, epoch: hello.epoch, at: now });
      if (hello.ledgerHead.seq > (agent.ledger_seq ?? 0)) this.witness(code, hello.epoch, hello.ledgerHead);
      return this.#answer(code, hello.epoch, agent);
    });
  }

  /** Remembers a ledger head. Within an epoch it only grows; a parcel of a new epoch begins a new line. */
  witness(code: string, epoch: number, head: LedgerHead): void {
    this.#witness.run({ code, epoch, ...head });
  }

  #answer(code: string, epoch: number, before: AgentRow): HelloAnswer {
    const { sequence = 0, receiptSequence = 0 } = this.#progress.get(code) ?? {};
    const { ledger_seq: seq, ledger_hash: hash } = before;
    // An agent that has just been installed has a ledger without entries: no head to witness.
    const head = seq !== null && hash ? { ledgerHead: { seq, hash } } : {};
    return { producer: this.#producer, epoch, sequence, receiptSequence, ...head };
  }
}

/** The hello is signed with the key it carries: that proves its owner is there, and pinning does the rest. */
function readHello(jws: string): Hello {
  try {
    const { key } = helloShape.parse(peekJws(jws));
    return helloShape.parse(verifyJws([key], jwsTypes.hello, jws));
  } catch (cause) {
    throw refusal('SIGNATURE_INVALID', cause);
  }
}
