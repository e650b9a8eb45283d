/**
 * One patient of a full buffer says no. It is the worst moment for it: the patient's records lie in a parcel of the
 * largest size that is being packed, which must be taken apart, some are spool files, and some have arrived and must be
 * taken back. Says `{"seconds": …}`: until the command may answer.
 *
 * `node child-purge.ts FOLDER PATIENT`
 */
import { randomBytes } from 'node:crypto';
import { assign } from '../../agent/flow/assign.ts';
import { recordStop } from '../../agent/flow/stop.ts';
import { inlineBytesMax } from '../../agent/buffer/spool.ts';
import { Flow, nameOf, record, today } from '../flow/harness.ts';

/** Images and reports of the patient that are still here. */
const spooled = 20;
/** Records of the patient that the producer has. */
const arrived = 20;

const [folder = '', patient = ''] = process.argv.slice(2);
const flow = new Flow({ folder });
const { store } = flow;
flow.fresh();
flow.told(patient);
const body = randomBytes(inlineBytesMax + 1);
await flow.offer(...Array.from({ length: spooled }, (_, n) => record({ patient, key: `${patient}|${n}`, body })));
const subject = store.subjects.find(nameOf(patient)) ?? 0;
const own = claim(subject);
const parcel = assign(store, flow.producer(), { lane: 'text' });
if (parcel === undefined) throw new Error('nothing was assigned');

const startedAt = performance.now();
const { isNew, after } = recordStop(store, { name: nameOf(patient), basis: 'all', stoppedOn: today, via: 'bench' });
await flow.finish(after);
const seconds = (performance.now() - startedAt) / 1000;
const left = store.records.ofSubject(subject).filter(({ isPresent }) => isPresent === 1).length;
const isVoid = store.parcels.get(parcel)?.state === 'void';
flow.close();
if (!isNew || left > 0 || !isVoid || after.spool.length !== spooled) throw new Error('the stop is not in force');
process.stdout.write(`${JSON.stringify({ seconds, records: own })}\n`);

/**
 * Makes the records that the filling has scattered over a subject of that number the patient's: every hundredth of the
 * oldest fifty thousand, so that the parcel holds them. Some have arrived.
 */
function claim(mine: number): number {
  const { db } = store;
  return db
    .transaction(() => {
      const { changes } = db
        .prepare(
          `UPDATE record SET subject = ? WHERE id IN (SELECT record FROM delivery WHERE state = 'ready' ORDER BY record LIMIT 50000) AND id % 100 = ?`,
        )
        .run(mine, Number(patient) % 100);
      db.prepare(
        `UPDATE delivery SET state = 'opened' WHERE record IN (SELECT id FROM record WHERE subject = ? ORDER BY id LIMIT ?)`,
      ).run(mine, arrived);
      return changes;
    })
    .immediate();
}
