/**
 * The schema for editors: `# yaml-language-server: $schema=connector.schema.json` gives completion and checks while
 * typing. Run as a script it writes `config/connector.schema.json`; a test fails while that file is stale.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { configSchema } from './schema.ts';

export const schemaJsonPath = join(import.meta.dirname, '../../config/connector.schema.json');

export function schemaJson(): string {
  const schema = z.toJSONSchema(configSchema, { io: 'input', unrepresentable: 'any' });
  return `${JSON.stringify({ ...schema, title: 'Kakehashi connector' }, undefined, 2)}\n`;
}

if (import.meta.main) writeFileSync(schemaJsonPath, schemaJson());
