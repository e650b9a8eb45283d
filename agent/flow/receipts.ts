import { peekJws, type PublicJwk } from '../base/jws.ts';
import type { Parcel } from '../buffer/parcels.ts';
import { ConnectorError } from '../model/errors.ts';
import type { LedgerHead, Receipt, ReceiptStatus } from '../model/wire.ts';
import { type ExpectedParcel, verifyReceipt } from '../ship/receipt.ts';
import { settle } from './settle.ts';
import type { AfterCommit, ProducerRow, Store } from './store.ts';

export interface ReceiptFeed {
  /** JWS of the receipts after this receipt sequence, in order; unverified. None: that was all. */
  readonly receipts: (after: number) => Promise<readonly string[]>;
  readonly keys: readonly PublicJwk[];
  readonly finish: (after: AfterCommit) => Promise<void>;
}

/**
 * Fetches what the producer has signed since, verifies each and makes it true, until there is no more. `settled` is
 * told of each that is.
 *
 * @throws ConnectorError what the feed throws, and RECEIPT_…; those before it stay settled.
 */
export async function settleReceipts(
  store: Store,
  producer: ProducerRow,
  feed: ReceiptFeed,
  settled: (status: ReceiptStatus) => void,
): Promise<void> {
  for (;;) {
    const after = store.parcels.lastReceipt(producer.id)?.sequence ?? 0;
    const jwsList = await feed.receipts(after);
    if (jwsList.length === 0) return;
    for (const jws of jwsList) {
      const receipt = verify(store, producer, feed, jws);
      await feed.finish(settle(store, producer, { receipt, jws }));
      const { parcelId: parcel, status } = receipt;
      settled(status);
      const code = status === 'rejected' ? { code: 'PARCEL_REJECTED' as const } : {};
      store.report({ name: `parcel.${status}`, producer: producer.name, parcel, ...code });
    }
  }
}

/**
 * Heads of our ledger that producers have signed for. Receipts of parcels that a restored state has not published speak
 * of entries that were lost with those.
 */
export function witnessedHeads({ parcels, producers }: Store): LedgerHead[] {
  return producers
    .flatMap(({ id }) => parcels.receipts(id))
    .map(({ jws }) => peekJws(jws) as Receipt)
    .filter(({ parcelId }) => (parcels.byPid(parcelId)?.statement ?? null) !== null)
    .map(({ ledgerHead }) => ledgerHead);
}

function verify(store: Store, { id, name }: ProducerRow, { keys }: ReceiptFeed, jws: string): Receipt {
  const { facility, parcels, report } = store;
  try {
    return verifyReceipt({
      jws,
      keys,
      expected: {
        producer: name,
        agent: facility,
        parcel: (pid) => expected(parcels.byPid(pid), id) ?? beforeRestore(store, jws),
        lastReceipt: parcels.lastReceipt(id),
      },
    });
  } catch (error) {
    if (error instanceof ConnectorError) report({ name: 'receipt.refused', producer: name, code: error.code });
    throw error;
  }
}

function expected(parcel: Parcel | undefined, producer: number): ExpectedParcel | undefined {
  if (!parcel || parcel.producer !== producer || parcel.sha256 === null || parcel.bytes === null) return undefined;
  return { parcelId: parcel.pid, sequence: parcel.sequence, sha256: parcel.sha256, bytes: parcel.bytes };
}

/**
 * After a restore the producer still tells of parcels this state never knew. They keep their place in the chain of
 * receipts; what was in them is sent again, under the same record ids.
 */
function beforeRestore({ epoch }: Store, jws: string): ExpectedParcel | undefined {
  return epoch > 1 ? (peekJws(jws) as Receipt) : undefined;
}
