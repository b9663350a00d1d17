// House rules about files: their size, their first line, and what must not stand in any of them.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join, relative } from "node:path";
import { test } from "node:test";
import { allSources, productSources, ROOT, walk } from "./sources.ts";

test("no file over 500 lines; over 350 says at its top why it is one thing", () => {
  const wrong = allSources().flatMap(({ path, lines, text }) => {
    if (lines > 500) return [`${path} has ${lines} lines`];
    const head = text.split("\n").slice(0, 10).join("\n");
    if (lines > 350 && !/one (thing|table|machine|state machine|grammar|conversation)/i.test(head)) {
      return [`${path} has ${lines} lines and does not say why it is one thing`];
    }
    return [];
  });
  assert.deepEqual(wrong, []);
});

test("the first line says what kind of file it is: pure, machine, root or types", () => {
  const wrong = productSources()
    .filter(({ text }) => !/^(?:#!.*\n)?\/\/ (Pure|Machine|Root|Types)\b/.test(text))
    .map(({ path }) => path);
  assert.deepEqual(wrong, []);
});

test("file names are kebab case", () => {
  const wrong = allSources()
    .map(({ path }) => path)
    .filter((path) => !/^[a-z0-9/-]+(\.[a-z]+)?(\.test)?\.ts$/.test(path));
  assert.deepEqual(wrong, []);
});

test("nothing names a machine's paths or a registry's host", () => {
  // Spelled in parts, so that this file does not find itself.
  const hosts = [
    ["registry.npm", "js"],
    ["pypi.", "org"],
    ["proxy.go", "lang"],
    ["crates.", "io"],
    ["deb.", "debian"],
  ];
  const paths = [
    ["/", "work/"],
    ["/", "root/"],
    ["/home/", "user"],
  ];
  const words = [...hosts, ...paths].map((parts) => parts.join(""));
  const wrong = walk(ROOT)
    .map((file) => relative(ROOT, file))
    .filter((file) => /\.(ts|json|ya?ml|md|sh|proto)$|\.ci\/run$/.test(file))
    .flatMap((file) => {
      const text = readFileSync(join(ROOT, file), "utf8");
      return words.filter((word) => text.includes(word)).map((word) => `${file}: ${word}`);
    });
  assert.deepEqual(wrong, []);
});

test("files and folders that ARCHITECTURE.md and CONTRIBUTING.md name are there", () => {
  const paths = walk(ROOT).map((file) => relative(ROOT, file).replaceAll("/src/", "/"));
  const wrong = ["ARCHITECTURE.md", "CONTRIBUTING.md"].flatMap((page) => {
    const names = readFileSync(join(ROOT, page), "utf8").matchAll(/`([\w-]+(?:[./][\w-]+)*(?:\.ts|\.mjs|\.txt|\/))`/g);
    return [...names]
      .map(([, name = ""]) => name.replaceAll("/src/", "/"))
      .filter((name) => !paths.some((path) => `/${path}`.includes(`/${name}`)))
      .map((name) => `${page}: ${name}`);
  });
  assert.deepEqual(wrong, []);
});

test("links between the documents lead somewhere", () => {
  const wrong = walk(ROOT)
    .filter((file) => file.endsWith(".md"))
    .flatMap((file) => {
      const links = [...readFileSync(file, "utf8").matchAll(/\]\((?!https?:|#)([^)#\s]+)/g)];
      return links
        .map((link) => link[1] ?? "")
        .filter((link) => !walk(ROOT).includes(join(file, "..", link)))
        .map((link) => `${relative(ROOT, file)}: ${link}`);
    });
  assert.deepEqual(wrong, []);
});
