/** A producer that outlives every restore: what it has taken in, answered, and been told never to take. */
import { createHash } from 'node:crypto';
import { newSigningKey, peekJws, signJws } from '../../agent/base/jws.ts';
import type { Parcel } from '../../agent/buffer/parcels.ts';
import { jwsTypes, type ParcelStatement, type Receipt, type ReceiptStatus } from '../../agent/model/wire.ts';
import type { Producer } from './model.ts';

const key = newSigningKey();

export class FarEnd {
  readonly keys = [key.publicJwk];
  /** One a receipt, oldest first: the chain that the connector goes along. */
  readonly answers: { readonly pid: string; readonly status: ReceiptStatus; readonly jws: string }[] = [];
  readonly #name: Producer;
  readonly #sequences = new Map<string, number>();
  readonly #void = new Set<string>();
  /** The connector's; whoever comes with a lower one is an old copy of it. */
  #epoch = 1;

  constructor(name: Producer) {
    this.#name = name;
  }

  /** The highest number of a parcel seen. */
  get sequence(): number {
    return Math.max(0, ...this.#sequences.values());
  }

  /** What it has said of a parcel last; undefined when it never had it, or was told to forget it. */
  statusOf(pid: string): ReceiptStatus | undefined {
    return this.answers.findLast((answer) => answer.pid === pid)?.status;
  }

  isVoid(pid: string): boolean {
    return this.#void.has(pid);
  }

  hasHeardOf({ pid }: Parcel): boolean {
    return this.#sequences.has(pid);
  }

  wouldHear({ statement }: Parcel): boolean {
    return statementOf(statement).epoch >= this.#epoch;
  }

  /** A parcel is announced. What a producer refuses here, no connector may send. */
  announced(parcel: Parcel): void {
    if (this.hasHeardOf(parcel)) return;
    if (!this.wouldHear(parcel)) throw new Error(`a parcel of an epoch before ${this.#epoch} is announced`);
    const { pid, sequence } = parcel;
    if ([...this.#sequences.values()].includes(sequence)) throw new Error(`two parcels with sequence ${sequence}`);
    this.#sequences.set(pid, sequence);
  }

  /** A restored connector comes with an epoch that nobody has had. */
  greeted(epoch: number): void {
    if (epoch <= this.#epoch) throw new Error(`restored as epoch ${epoch}, after epoch ${this.#epoch}`);
    this.#epoch = epoch;
  }

  deleted(pid: string): void {
    this.#void.add(pid);
  }

  answer(parcel: Parcel, status: ReceiptStatus): void {
    const { agent, ledgerHead, sequence, sha256, bytes } = statementOf(parcel.statement);
    const last = this.answers.at(-1)?.jws;
    const receipt: Receipt = {
      v: 1,
      status,
      producer: this.#name,
      agent,
      parcelId: parcel.pid,
      sequence,
      sha256,
      bytes,
      receiptSequence: this.answers.length + 1,
      ...(last !== undefined && { previousReceipt: createHash('sha256').update(last).digest('hex') }),
      ledgerHead,
      at: '2026-11-23T12:00:00.000+09:00',
      ...(status === 'opened' && { entries: parcel.records }),
      ...(status === 'rejected' && { reason: 'NOT_FOR_US' }),
    };
    this.answers.push({ pid: parcel.pid, status, jws: signJws(key, jwsTypes.receipt, receipt) });
  }

  /** The next receipt after this one, and then none: a feed that is read one by one stops at any of them. */
  feed(): (after: number) => Promise<readonly string[]> {
    let isRead = false;
    return (after) => {
      const next = isRead ? undefined : this.answers[after]?.jws;
      isRead = true;
      return Promise.resolve(next === undefined ? [] : [next]);
    };
  }
}

function statementOf(jws: string | null): ParcelStatement {
  if (jws === null) throw new Error('a parcel without a statement has left');
  return peekJws(jws) as ParcelStatement;
}
