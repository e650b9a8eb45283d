/**
 * A day in the life of the flow, run in a process of its own so that it can be killed anywhere:
 * `node child-flow.ts FOLDER [POINT NTH]` kills itself the NTH time POINT is reached. What was promised to somebody
 * outside is said on stdout at once, one JSON line each, so that the parent knows what must not be lost.
 */
import { writeSync } from 'node:fs';
import { assign } from '../../agent/flow/assign.ts';
import { pack } from '../../agent/flow/pack.ts';
import { publish } from '../../agent/flow/publish.ts';
import { settleVoid } from '../../agent/flow/settle.ts';
import type { OfferedRecord } from '../../agent/model/record.ts';
import { Flow, record } from '../flow/harness.ts';

export type Promised =
  | { acknowledged: string; outcome: string }
  | { reached: string }
  | { stopped: string }
  | { done: true };
export type Say = (promised: Promised) => void;

const patients = ['1', '2', '3'];

async function* image(): AsyncGenerator<Uint8Array> {
  for (let part = 0; part < 3; part++) yield Buffer.alloc(100_000, part + 1);
}

export function morning(): OfferedRecord[] {
  return patients.map((patient) =>
    patient === '3' ? record({ patient, key: 'CT|3', body: image() }) : record({ patient, key: `HIS|${patient}` }),
  );
}

export function evening(): OfferedRecord[] {
  return ['1', '2'].map((patient) => record({ patient, key: `HIS|evening ${patient}` }));
}

/** What an installed connector has: harmless twice. */
export function installed(flow: Flow): void {
  if (flow.store.register.filings().length > 0) return;
  flow.filed();
  for (const patient of patients) flow.told(patient);
}

async function offer(flow: Flow, records: readonly OfferedRecord[], say: Say): Promise<void> {
  await Promise.all(
    records.map(async (each) => {
      for (const { recordId, outcome } of await flow.offer(each)) say({ acknowledged: recordId, outcome });
    }),
  );
}

/** Everything that is open is settled with the producer; then whatever is ready goes, all the way or only to be sealed. */
export async function ship(flow: Flow, until: 'opened' | 'sealed'): Promise<void> {
  const { store } = flow;
  const producer = flow.producer();
  const settleOpen = async () => {
    for (const { id } of store.parcels.inState('voiding', producer.id)) {
      await flow.finish(settleVoid(store, producer, id, { atomic: true }));
    }
    for (const parcel of store.parcels.inState('sealed', producer.id)) await flow.answered(parcel, 'stored');
    for (const parcel of store.parcels.inState('stored', producer.id)) await flow.answered(parcel, 'opened');
  };
  await settleOpen();
  for (;;) {
    const id = assign(store, producer, { lane: 'text' });
    if (id === undefined) return;
    const isPacked = await pack(store, producer, id, new AbortController().signal);
    const result = isPacked ? publish(store, producer, id) : undefined;
    if (result?.kind === 'void') await flow.finish(result.after);
    if (until === 'opened') await settleOpen();
  }
}

/** Can be begun again from the start after any crash: senders repeat, the producer answers the same. */
export async function day(flow: Flow, say: Say): Promise<void> {
  await offer(flow, morning(), say);
  await ship(flow, 'opened');
  await offer(flow, evening(), say);
  await ship(flow, 'sealed');
  await flow.stop('1');
  say({ stopped: '1' });
  await ship(flow, 'opened');
}

if (import.meta.main) {
  const [folder = '', point, nth = '1'] = process.argv.slice(2);
  const say: Say = (promised) => void writeSync(1, `${JSON.stringify(promised)}\n`);
  let count = 0;
  let isArmed = false;
  const flow = new Flow({
    folder,
    reached: (name) => {
      if (!isArmed) return;
      if (point === undefined) say({ reached: name });
      else if (name === point && ++count === Number(nth)) process.kill(process.pid, 'SIGKILL');
    },
  });
  installed(flow);
  isArmed = true;
  await day(flow, say);
  flow.close();
  say({ done: true });
}
