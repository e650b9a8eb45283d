/**
 * A modality that sends CT slices of half a megabyte as fast as they are answered. Says `{"waitsMs": […]}`: from the
 * request of each to its answer.
 *
 * `node child-series.ts PORT COUNT PATIENT…`
 */
import { instance } from '../peers/dicom/dataset.ts';
import { RawScu } from '../peers/dicom/scu.ts';

/** Rows and columns. */
const size = 512;
/** Sent in one association: a series. */
const seriesSlices = 50;

const [port = '', count = '', ...patients] = process.argv.slice(2);
const waitsMs: number[] = [];
while (waitsMs.length < Number(count)) await sendSeries(waitsMs.length / seriesSlices + 1);
process.stdout.write(`${JSON.stringify({ waitsMs })}\n`);

async function sendSeries(series: number): Promise<void> {
  const scu = await RawScu.associate(Number(port));
  for (let number = 1; number <= seriesSlices && waitsMs.length < Number(count); number++) {
    const made = instance({ patientId: patients[series % patients.length] ?? '', size, study: series, series, number });
    const startedAt = performance.now();
    const status = await scu.store(made);
    if (status !== '0x0000') throw new Error(`a slice was answered ${status}`);
    waitsMs.push(performance.now() - startedAt);
  }
  await scu.release();
}
