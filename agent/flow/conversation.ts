import { Encrypter } from 'age-encryption';
import { isoJst } from '../base/clock.ts';
import { type PublicJwk, signJws } from '../base/jws.ts';
import type { OpenRetraction } from '../buffer/retractions.ts';
import type { Clock } from '../model/ports.ts';
import type { Instant } from '../model/record.ts';
import { type Hello, jwsTypes, type ReceiptStatus, type Retraction } from '../model/wire.ts';
import type { ProducerLink } from '../ship/link.ts';
import { digestOf, verifyRetractionReceipt } from '../ship/receipt.ts';
import { settleReceipts } from './receipts.ts';
import { settleVoid } from './settle.ts';
import type { AfterCommit, ProducerRow, Store } from './store.ts';

const receiptPollMs = 250;

export interface ConversationOptions {
  readonly link: ProducerLink;
  readonly receiptKeys: readonly PublicJwk[];
  readonly clock: Clock;
  /** Takes the time of a producer's answer: what trusts the clock. */
  readonly confirmTime: (at: Instant, roundTripMs: number) => void;
  readonly finish: (after: AfterCommit) => Promise<void>;
}

/** What a producer has answered. */
export type AnswerTally = Record<ReceiptStatus | 'retractions', number>;

export const noAnswers = { stored: 0, opened: 0, rejected: 0, retractions: 0 } as const;

/**
 * The small messages between here and one producer, everything but the parcels: who we are and what time it is,
 * receipts, voids, retractions. Each can be repeated, and what was reached stays when the next one fails.
 */
export class Conversation {
  readonly #store: Store;
  readonly #producer: ProducerRow;
  readonly #options: ConversationOptions;
  #sequenceFloor = 0;

  constructor(store: Store, producer: ProducerRow, options: ConversationOptions) {
    this.#store = store;
    this.#producer = producer;
    this.#options = options;
  }

  /** The highest parcel sequence the producer has seen: more than ours only after a restore. */
  get sequenceFloor(): number {
    return this.#sequenceFloor;
  }

  /** Says hello, and takes the producer's time. @throws ConnectorError of the link */
  async greet(): Promise<void> {
    const { link, confirmTime } = this.#options;
    if (link.receiver === 'tus') {
      const { at, roundTripMs } = await link.health();
      return confirmTime(at, roundTripMs);
    }
    const { at, roundTripMs, answer } = await link.hello(this.#hello());
    this.#sequenceFloor = answer.sequence;
    confirmTime(at, roundTripMs);
  }

  #hello(): string {
    const { facility, epoch, keys, ledger, software, time } = this.#store;
    const { publicJwk } = keys.signing;
    const at = isoJst(time.now());
    const hello: Hello = { v: 1, agent: facility, epoch, key: publicJwk, ledgerHead: ledger.head(), software, at };
    return signJws(keys.signing, jwsTypes.hello, hello);
  }

  /**
   * Everything that is open: receipts not yet fetched, parcels to be voided, retractions to be told.
   *
   * @throws ConnectorError of the link, RECEIPT_* and RETRACTION_*
   */
  async settle(tally: AnswerTally): Promise<void> {
    await this.#receipts(tally);
    await this.#voids(tally);
    await this.#retractions(tally);
  }

  async #receipts(tally: AnswerTally): Promise<void> {
    const { finish, link, receiptKeys: keys } = this.#options;
    const feed = { receipts: (after: number) => link.receipts(after), keys, finish };
    await settleReceipts(this.#store, this.#producer, feed, (status) => void tally[status]++);
  }

  async #voids(tally: AnswerTally): Promise<void> {
    for (const parcel of this.#store.parcels.inState('voiding', this.#producer.id)) {
      const answer = await this.#options.link.void(parcel.pid);
      if (answer.kind === 'stored') {
        // Too late: its receipt stands in the feed like every other, in its place in the chain.
        await this.#receipts(tally);
        continue;
      }
      await this.#options.finish(settleVoid(this.#store, this.#producer, parcel.id, answer));
      this.#store.report({ name: 'parcel.voided', producer: this.#producer.name, parcel: parcel.pid });
    }
  }

  async #retractions(tally: AnswerTally): Promise<void> {
    const { link, receiptKeys } = this.#options;
    const { retractions, facility, report } = this.#store;
    const { id: producerId, name: producer } = this.#producer;
    if (link.receiver === 'tus') return;
    for (const open of retractions.open(producerId)) {
      const jws = open.jws ?? (await this.#signed(open));
      const answer = await link.retract(jws);
      const expected = { producer, agent: facility, retractionId: open.id, sha256: digestOf(jws) };
      verifyRetractionReceipt({ jws: answer, keys: receiptKeys, expected });
      this.#acknowledge(open.id, answer);
      tally.retractions++;
      report({ name: 'retraction.sent', producer });
    }
  }

  async #signed({ id, at }: OpenRetraction): Promise<string> {
    const { retractions, keys, facility, epoch } = this.#store;
    const detail = await this.#encrypt(JSON.stringify(retractions.detail(id)));
    const body: Retraction = { v: 1, retractionId: id, agent: facility, epoch, detail, at: isoJst(at) };
    const jws = signJws(keys.signing, jwsTypes.retraction, body);
    retractions.sign(id, jws);
    return jws;
  }

  #acknowledge(retraction: string, answer: string): void {
    const { db, time, retractions, ledger } = this.#store;
    db.transaction(() => {
      const now = time.now();
      retractions.acknowledge(retraction, answer, now);
      ledger.append('retraction-acknowledged', now, { retraction, producer: this.#producer.name });
    }).immediate();
  }

  async #encrypt(text: string): Promise<string> {
    const encrypter = new Encrypter();
    for (const recipient of this.#producer.recipients) encrypter.addRecipient(recipient);
    return Buffer.from(await encrypter.encrypt(text)).toString('base64');
  }

  /** Asks for receipts until `isEnough`, `signal` aborts or `waitMsMax` are over. @throws as `settle` */
  async awaitReceipts(
    tally: AnswerTally,
    { isEnough, waitMsMax, signal }: { isEnough: () => boolean; waitMsMax: number; signal: AbortSignal },
  ): Promise<void> {
    const { clock } = this.#options;
    const until = clock.monotonic() + waitMsMax;
    await this.#receipts(tally);
    while (!isEnough() && !signal.aborted && clock.monotonic() < until) {
      await clock.sleep(receiptPollMs, signal);
      await this.#receipts(tally);
    }
  }
}
