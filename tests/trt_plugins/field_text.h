// Plugin fields as text: name=i:1,2 (int32), l: (int64), f: (float), s:text (ended by NUL), t:text (not ended) or n:
// (int32 without data).
#pragma once

#include <cstring>
#include <deque>
#include <sstream>
#include <string>
#include <vector>

#include "../../trt_plugins/abi/tensorrt_abi.h"

namespace tensorrt_double {

using namespace nvinfer1;
using Words = std::vector<std::string>;

inline Words split(std::string const& text, char separator) {
    Words words;
    std::istringstream stream(text);
    for (std::string word; std::getline(stream, word, separator);) words.push_back(word);
    return words;
}

// A field collection and the memory behind it; every datum is its own piece of heap, for a sanitizer to watch.
struct Fields {
    std::deque<std::vector<char>> data;
    std::deque<std::string> names;
    std::vector<PluginField> fields;
    PluginFieldCollection collection{};

    explicit Fields(Words const& words) {
        for (auto const& word : words) {
            auto const equals = word.find('=');
            char const kind = word[equals + 1];
            std::string const value = word.substr(equals + 3);
            auto& bytes = data.emplace_back();
            PluginField field{names.emplace_back(word.substr(0, equals)).c_str(), nullptr, PluginFieldType::kINT32, 0};
            if (kind == 's' || kind == 't') {
                bytes.assign(value.c_str(), value.c_str() + value.size() + (kind == 's'));
                field.type = PluginFieldType::kCHAR;
                field.length = static_cast<int32_t>(bytes.size());
            } else {
                for (auto const& number : split(value, ',')) {
                    ++field.length;
                    if (kind == 'i') append(bytes, static_cast<int32_t>(std::stoll(number)));
                    if (kind == 'l') append(bytes, int64_t{std::stoll(number)});
                    if (kind == 'f') append(bytes, std::stof(number));
                }
                if (kind == 'l') field.type = PluginFieldType::kINT64;
                if (kind == 'f') field.type = PluginFieldType::kFLOAT32;
            }
            field.data = kind == 'n' ? nullptr : bytes.data();
            fields.push_back(field);
        }
        collection = {static_cast<int32_t>(fields.size()), fields.data()};
    }

    template <typename Number>
    static void append(std::vector<char>& bytes, Number number) {
        bytes.resize(bytes.size() + sizeof number);
        std::memcpy(&bytes[bytes.size() - sizeof number], &number, sizeof number);
    }
};

inline std::string textOf(PluginFieldCollection const& collection) {
    std::string text;
    for (int32_t i = 0; i < collection.nbFields; ++i) {
        auto const& field = collection.fields[i];
        text += std::string(" ") + field.name + (field.type == PluginFieldType::kCHAR ? "=s:" : "=i:");
        if (field.type == PluginFieldType::kCHAR) text += field.data ? static_cast<char const*>(field.data) : "";
        for (int32_t k = 0; field.type == PluginFieldType::kINT32 && field.data && k < field.length; ++k)
            text += (k ? "," : "") + std::to_string(static_cast<int32_t const*>(field.data)[k]);
    }
    return text;
}

}  // namespace tensorrt_double
