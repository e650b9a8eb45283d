/** Fills a buffer, in a process of its own because it takes the memory of one. `node child-fill.ts FOLDER RECORDS PATIENTS` */
import { fillQueue } from './full-queue.ts';

const [folder = '', records = '', patients = ''] = process.argv.slice(2);
fillQueue(folder, { records: Number(records), patients: Number(patients) });
process.stdout.write('{}\n');
