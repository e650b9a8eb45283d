/**
 * Writes durable files for ever, saying which one is committed, until it is killed. A file's bytes follow from its
 * number, so that whoever finds it can tell whether it is whole. With `half` it stops in the middle of the first one.
 */
import { createHash } from 'node:crypto';
import { writeSync } from 'node:fs';
import { join } from 'node:path';
import { DurableFile } from '../../agent/base/files.ts';

const [folder = '', mode = 'all'] = process.argv.slice(2);

for (let number = 0; ; number++) {
  const file = await DurableFile.create(join(folder, String(number % 4), `${number}`));
  const piece = createHash('sha512').update(String(number)).digest();
  for (let count = 0; count < 64; count++) await file.write(piece);
  if (mode === 'half') {
    writeSync(1, 'half\n');
    await new Promise((resolve) => setTimeout(resolve, 60_000));
  }
  await file.commit();
  writeSync(1, `${number}\n`);
}
