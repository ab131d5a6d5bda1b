// What pages do with a script: the server renders, this fetches the page once more and puts the marked regions in place.
import { boot, start } from "./core.js";
import { picker } from "./picker.js";
import { build } from "./build.js";

boot({ picker, build });
start();
